"""States of complex numbers: every method, batches, trees, checkpoints and gradients, as with pairs of real ones."""

import pytest
import torch
from torch import nn

import forerun
from forerun import Map
from forerun.engine.testing import check_map
from forerun.limits import (
    AndersonMixing,
    AndersonTypeOne,
    Broyden,
    Cycled,
    FilteredAnderson,
    Halpern,
    Implicit,
    NewtonKrylov,
    Plain,
)

METHODS = [
    None,
    Plain(),
    AndersonMixing(8),
    AndersonTypeOne(5),
    Broyden(),
    Cycled(),
    FilteredAnderson(8),
    Halpern(),
    NewtonKrylov(),
]


def linear(dtype=torch.complex128, batch=()):
    """An affine map of spectral radius 0.8, and its fixed point."""
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(*batch, 5, 5, dtype=torch.complex128, generator=generator)
    A = 0.8 * A / torch.linalg.eigvals(A).abs().amax(-1)[..., None, None]
    b = torch.randn(*batch, 5, dtype=torch.complex128, generator=generator)
    limit = torch.linalg.solve(torch.eye(5) - A, b)
    A, b = A.to(dtype), b.to(dtype)
    return lambda z: (A @ z.unsqueeze(-1)).squeeze(-1) + b, limit


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_limit(method):
    evaluate, truth = linear()
    keywords = {"method": method} if method else {}
    limit = forerun.fixed_point(evaluate, torch.zeros_like(truth), tolerance=1e-9, **keywords)
    assert float((limit.state - truth).abs().max()) < 1e-7
    assert limit.state.dtype == limit.displacement.dtype == torch.complex128
    check_map(Map.from_function(evaluate), truth)


def test_single_precision_batches_and_checkpoints(tmp_path):
    evaluate, truth = linear(torch.complex64, batch=(3,))
    first = torch.zeros(3, 5, dtype=torch.complex64)
    limit = forerun.fixed_point(evaluate, first, batch_dims=1, tolerance=1e-5)
    assert limit.state.dtype == torch.complex64
    assert float((limit.state - truth).abs().max()) < 1e-3
    assert limit.residual.shape == (3,)
    stopped = forerun.fixed_point(evaluate, first, batch_dims=1, tolerance=1e-5, callback=lambda event: True)
    stopped.checkpoint.save(tmp_path / "limit")
    resumed = forerun.fixed_point(evaluate, first, batch_dims=1, tolerance=1e-5, resume=tmp_path / "limit")
    assert torch.equal(resumed.state, limit.state)


def test_trees_may_hold_both_kinds():
    def evaluate(state):
        return {"z": 0.5 * state["z"].sin() + 1j * state["r"], "r": 0.5 * state["r"].cos()}

    first = {"z": torch.zeros(3, dtype=torch.complex64), "r": torch.ones(3)}
    limit = forerun.fixed_point(evaluate, first, tolerance=1e-5)
    assert limit.state["z"].dtype == torch.complex64
    assert float((evaluate(limit.state)["z"] - limit.state["z"]).abs().max()) < 1e-4


def test_gradients_are_those_of_the_linear_system():
    evaluate, truth = linear()
    offset = nn.Parameter(torch.zeros(5, dtype=torch.complex128))
    layer = Implicit(lambda z: evaluate(z) + offset, tolerance=1e-12)
    layer(torch.zeros_like(truth)).abs().square().sum().backward()
    columns = torch.stack([evaluate(unit) - evaluate(0 * unit) for unit in torch.eye(5, dtype=torch.complex128)], 1)
    other = offset.detach().clone().requires_grad_()
    solution = torch.linalg.solve(torch.eye(5) - columns, evaluate(torch.zeros_like(truth)) + other)
    solution.abs().square().sum().backward()
    assert torch.allclose(offset.grad, other.grad, atol=1e-8)


def test_paths_still_ask_for_pairs():
    with pytest.raises(TypeError, match="view_as_real"):
        forerun.solve(forerun.Process.from_step(lambda i, z: z, 3), torch.zeros(2, dtype=torch.complex64))
