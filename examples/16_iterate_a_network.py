"""A network iterated: structure from noisy distances, refined by recycling, for some steps and to its limit.

python examples/16_iterate_a_network.py
"""

import torch
from torch import nn

from forerun.limits.equilibrium import Equilibrium

torch.manual_seed(0)

# Recycling, as in protein folding: points of the plane from a rough guess and noisy distances between them.


class Refinement(nn.Module):
    """Moves points along the lines between them, by a share that the network chooses for each misfit."""

    def __init__(self):
        super().__init__()
        self.share = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, points, distances):
        """Return points `(B, N, 2)` that fit distances `(B, N, N)` better."""
        offsets = points[:, :, None] - points[:, None]
        lengths = offsets.norm(dim=-1).clamp_min(1e-3)
        share = self.share(torch.stack([lengths, distances - lengths], -1)).squeeze(-1)
        pull = share * (distances - lengths) / lengths
        return points + (pull[..., None] * offsets).mean(2)


def draw_points(count):
    """Return points, a rough guess of them, and noisy distances."""
    points = torch.randn(count, 10, 2)
    distances = torch.cdist(points, points) + 0.05 * torch.randn(count, 10, 10)
    return points, points + 0.4 * torch.randn(points.shape), (distances + distances.mT) / 2


def measure_error(points, truth):
    """Return the error of the distances, whose position in the plane means nothing."""
    return (torch.cdist(points, points) - torch.cdist(truth, truth)).square().mean().sqrt()


refine = Equilibrium(Refinement(), share=0.5, batch_dims=1, tolerance=1e-4, throw=False)
optimizer = torch.optim.Adam(refine.parameters(), 0.01)
for _ in range(150):
    truth, guess, distances = draw_points(32)
    steps = int(torch.randint(1, 5, (1,)))  # recycled a random number of times
    loss = measure_error(refine.iterate(guess, distances, steps=steps)[-1], truth)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

truth, guess, distances = draw_points(200)
with torch.no_grad():
    states = refine.iterate(guess, distances, steps=8)
    limit = refine(guess, distances)
steps = {"the guess": guess, "1 step": states[0], "4 steps": states[3], "8 steps": states[7], "the limit": limit}
for name, state in steps.items():
    print(f"{name}: error {float(measure_error(state, truth)):.3f}")
done = sum(status.done for status in refine.limit.statuses)
print(f"{refine.limit.evaluations} evaluations; {done} of 200 structures have come to their limit")
