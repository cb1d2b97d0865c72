"""A grid of voxels that doubles on the way, run ahead of itself, stopped half-way and resumed from a file."""

from pathlib import Path

import torch
from torch.nn.functional import grid_sample, interpolate
from torch.utils._pytree import tree_map

from forerun import Sliding
from forerun.optim import Barriers, Loop, SaveEvery, Vmapped

STEPS, DOUBLE, FILE = 300, {75, 150}, Path("grid.safetensors")
torch.set_num_threads(1)


def density_of_ball(points):
    """A ball with a soft rim, at points `(N, 3)` in [-1, 1]."""
    return torch.sigmoid(10 * (0.6 - points.norm(dim=1)))


def draw_points(step):
    """Draw the points of a step, with its seed."""
    return torch.rand(256, 3) * 2 - 1


def loss(grid, step, at):
    """Compare the grid, interpolated, with the ball."""
    values = grid_sample(grid, at.reshape(1, -1, 1, 1, 3), align_corners=True).reshape(-1)
    return (values - density_of_ball(at)).square().mean()


def double_grid(step, grid, moments):
    """A finer grid; Adam's moments are carried along by the same function."""

    def refine(tensor):
        return interpolate(tensor, scale_factor=2, mode="trilinear", align_corners=True)

    return refine(grid), tree_map(refine, moments)


def build():
    """A grid and its loop; no window straddles a step at which the grid doubles."""
    grid = torch.nn.Parameter(torch.zeros(1, 1, 4, 4, 4))
    loop = Loop(
        grid,
        torch.optim.Adam([grid], 0.01),
        loss,
        data=draw_points,
        barriers=Barriers(DOUBLE, double_grid),
        gradients=Vmapped(),
        window=Sliding(8),
    )
    return grid, loop


grid, loop = build()
for event in loop.run(STEPS, save=SaveEvery(100, FILE)):
    if event.step % 60 == 0:
        print(f"step {event.step}: loss {event.loss:.4f} on a grid of {grid.shape[-1]}^3, after {event.rounds} rounds")
    if event.step == 199:
        break  # the grid, Adam and the file hold the state after step 199
print(f"broken off with a grid of {grid.shape[-1]}^3")

grid, loop = build()
solution = loop.run(STEPS, resume=FILE).solution()
FILE.unlink()
print(solution)
at = torch.rand(4096, 3) * 2 - 1
print(f"mean square error at other points: {float(loss(grid.detach(), 0, at)):.1e}, on a grid of {grid.shape[-1]}^3")
