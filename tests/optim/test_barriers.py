"""Steps before which the tree changes its shape: a grid that doubles, splats that are pruned and split."""

import shutil

import pytest
import torch
from optim.loops import EXACT, SEED, same
from torch import nn, optim
from torch.nn import functional
from torch.utils._pytree import tree_map

from forerun import Absolute, Sliding, Status
from forerun.optim import Barriers, Loop, OneByOne, SaveEvery, StepLength, seeded

STEPS, DOUBLE = 24, (7, 15)
LOOSE = {"tolerance": StepLength(0.05), "gradients": OneByOne()}


def wanted(side):
    """A smooth picture on a grid of `side` cubed."""
    x = torch.linspace(-1, 1, side)
    return torch.exp(-(x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2))


def grid_loss(grid, step):
    shift = 0.01 * torch.randn(())
    return (grid - wanted(grid.shape[-1]) - shift).square().mean() * 100


def grown(tensor):
    """Twice as fine."""
    return functional.interpolate(tensor[None, None], scale_factor=2, mode="trilinear")[0, 0]


def double(step, params, moments):
    return grown(params), tree_map(grown, moments)


def grid(**options):
    voxels = nn.Parameter(torch.zeros(2, 2, 2))
    optimizer = optim.Adam([voxels], 0.05)
    loop = Loop(voxels, optimizer, grid_loss, **(EXACT | {"barriers": Barriers(DOUBLE, double)} | options))
    return voxels, optimizer, loop


def plain_grid():
    voxels = nn.Parameter(torch.zeros(2, 2, 2))
    optimizer = optim.Adam([voxels], 0.05)
    for step in range(STEPS):
        if step in DOUBLE:
            with torch.no_grad():
                voxels.data = grown(voxels)
            entry = optimizer.state[voxels]
            entry.update({name: grown(entry[name]) for name in ("exp_avg", "exp_avg_sq")})
        optimizer.zero_grad()
        with seeded(SEED, step):
            grid_loss(voxels, step).backward()
        optimizer.step()
    return voxels, optimizer


def test_a_grid_that_doubles_has_the_bits_of_the_plain_loop():
    truth, true_optimizer = plain_grid()
    voxels, optimizer, loop = grid()
    events = list(loop.run(STEPS))
    assert voxels.shape == (8, 8, 8)
    assert same(truth, voxels)
    assert same(true_optimizer.state_dict(), optimizer.state_dict())
    assert [event.step for event in events] == list(range(STEPS))
    assert [event.params.shape[0] for event in events] == [2] * 7 + [4] * 8 + [8] * 9


def test_no_window_straddles_a_barrier():
    _, _, loop = grid(window=Sliding(16), **LOOSE)
    solution = loop.run(STEPS).solution()
    for entry in solution.log:
        assert all(not entry.start < step < entry.stop for step in DOUBLE)
    assert solution.step == STEPS
    assert solution.rounds == sum(entry.rounds for entry in solution.log) < STEPS
    assert solution.evaluations == sum(entry.evaluations for entry in solution.log)


@pytest.mark.parametrize("options", [{}, LOOSE], ids=["exact", "loose"])
@pytest.mark.parametrize("stop", [3, 7, 9, 15])
def test_a_run_goes_on_over_barriers(tmp_path, stop, options):
    path = tmp_path / "run.safetensors"
    truth, _, loop = grid(**options)
    loop.run(STEPS).solution()
    _, _, loop = grid(**options)
    stopped = loop.run(STEPS, callback=lambda event: event.step + 1 >= stop, save=SaveEvery(50, path)).solution()
    assert stopped.status is Status.STOPPED or stopped.step in DOUBLE
    voxels, _, loop = grid(**options)
    loop.run(STEPS, resume=path).solution()
    assert same(truth, voxels)


def splat_loss(splats, step):
    """Gaussians on a line, drawn at random places, against a picture of two bumps."""
    at = torch.rand(32) * 4 - 2
    drawn = (splats["weight"] * torch.exp(-((at[:, None] - splats["mean"]) ** 2) * splats["width"].exp())).sum(1)
    return (drawn - torch.exp(-8 * (at - 1) ** 2) - torch.exp(-8 * (at + 1) ** 2)).square().mean()


def densify(step, splats, moments):
    """Prune faint splats, split the widest; new ones have no momentum yet."""
    keep = splats["weight"].abs() > 0.05
    splats, moments = (tree_map(lambda rows: rows[keep], tree) for tree in (splats, moments))
    widest = splats["width"].argmin().reshape(1)
    jitter = 0.1 * torch.randn(1)
    born = {name: rows[widest] + (jitter if name == "mean" else 0) for name, rows in splats.items()}
    splats = {name: torch.cat([rows, born[name]]) for name, rows in splats.items()}
    moments = tree_map(lambda rows: torch.cat([rows, rows.new_zeros(1)]), moments)
    return splats, moments


def splats(**options):
    torch.manual_seed(2)
    params = {
        "mean": nn.Parameter(torch.linspace(-2, 2, 9)),
        "width": nn.Parameter(torch.zeros(9)),
        "weight": nn.Parameter(0.1 * torch.randn(9)),
    }
    optimizer = optim.AdamW(params.values(), 0.05)
    barriers = Barriers(lambda step: step > 0 and step % 10 == 0, densify)
    loop = Loop(params, optimizer, splat_loss, **(EXACT | {"barriers": barriers, "ema": 0.9} | options))
    return params, optimizer, loop


def plain_splats(steps):
    params, optimizer, _ = splats()
    for step in range(steps):
        if step and step % 10 == 0:
            names = ("exp_avg", "exp_avg_sq")
            given = {name: {key: optimizer.state[params[key]][name] for key in params} for name in names}
            with torch.no_grad(), seeded(SEED, step):
                changed, moments = densify(step, {key: each.detach() for key, each in params.items()}, given)
            for key, tensor in params.items():
                tensor.data = changed[key]
                optimizer.state[tensor].update({name: moments[name][key] for name in names})
        optimizer.zero_grad()
        with seeded(SEED, step):
            splat_loss(params, step).backward()
        optimizer.step()
    return params, optimizer


def test_splats_that_are_pruned_and_split_have_the_bits_of_the_plain_loop():
    truth, true_optimizer = plain_splats(35)
    params, optimizer, loop = splats()
    seen = {event.step: len(event.params["mean"]) for event in loop.run(35)}
    assert len({seen[9], seen[10], seen[20], seen[30]}) > 1
    assert same(truth, params)
    assert same(true_optimizer.state_dict(), optimizer.state_dict())
    assert loop.average["mean"].shape == params["mean"].shape


def test_splats_ahead_come_close():
    truth, _ = plain_splats(35)
    params, _, loop = splats(tolerance=StepLength(0.01), window=Sliding(8))
    solution = loop.run(35).solution()
    assert solution.rounds < 35
    for name in truth:
        torch.testing.assert_close(truth[name], params[name], atol=5e-3, rtol=5e-2)


def test_moments_can_be_started_anew():
    def anew(step, params, moments):
        assert set(moments) == {"exp_avg", "exp_avg_sq"}
        return grown(params), None

    voxels, optimizer, loop = grid(barriers=Barriers([7], anew))
    for event in loop.run(10):
        if event.step == 7:
            assert float(optimizer.state[voxels]["step"]) == 1
    assert voxels.shape == (4, 4, 4)


@pytest.mark.parametrize(
    "change, error, words",
    [
        (lambda step, params, moments: grown(params), TypeError, "return params, moments"),
        (lambda step, params, moments: (grown(params), moments), ValueError, r"\[4, 4, 4\], but its exp_avg of \[2, 2"),
        (lambda step, params, moments: (grown(params), {}), ValueError, r"moments \['exp_avg', 'exp_avg_sq'\]"),
    ],
)
def test_changes_that_do_not_fit_are_refused_and_nothing_is_lost(change, error, words):
    voxels, _, loop = grid(barriers=Barriers([7], change))
    with pytest.raises(error, match=words):
        loop.run(10).solution()
    assert loop.step == 7
    assert voxels.shape == (2, 2, 2)
    assert bool(voxels.any())


def test_without_control_a_stretch_between_barriers_is_a_few_rounds():
    _, _, loop = grid(window=Sliding(8), tolerance=Absolute(float("inf")))
    solution = loop.run(STEPS).solution()
    assert solution.evaluations == STEPS
    assert solution.rounds == 3 * 2


@pytest.mark.parametrize("options", [{}, LOOSE], ids=["exact", "loose"])
def test_a_file_that_was_written_at_a_barrier_goes_on_after_it(tmp_path, options):
    path = tmp_path / "run.safetensors"
    truth, _, loop = grid(**options)
    loop.run(STEPS).solution()
    _, _, loop = grid(**options)
    copies = []
    for event in loop.run(STEPS, save=SaveEvery(DOUBLE[0], path)):
        if event.step == DOUBLE[0]:
            copies.append(shutil.copy(path, tmp_path / "at_the_barrier.safetensors"))
    voxels, _, loop = grid(**options)
    loop.run(STEPS, resume=copies[0]).solution()
    assert same(truth, voxels)
