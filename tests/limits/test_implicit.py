"""Implicit: gradients of a limit are those of the limit, by the same methods, in the memory of one call."""

import pytest
import torch
from limits.maps import DOUBLE, normal
from torch import nn

from forerun import fixed_point
from forerun.limits import AndersonMixing, AutoMixing, Implicit, LimitOptions, NewtonKrylov, NoLimit, Plain

TIGHT = {"tolerance": 1e-12}


class Cell(nn.Module):
    """`tanh(W z + x)`, which contracts."""

    def __init__(self, size=5):
        super().__init__()
        W = normal(size, size)
        self.W = nn.Parameter(0.8 * W / torch.linalg.matrix_norm(W, 2))

    def forward(self, z, x):
        return torch.tanh(z @ self.W.T + x)


@pytest.mark.parametrize("method", [Plain(), AutoMixing(), AndersonMixing(5), NewtonKrylov()], ids=repr)
def test_gradients_are_exact(method):
    cell, x = Cell(), normal(3, 5, seed=1).requires_grad_()

    def solve(W, x):
        layer = Implicit(lambda z, x: torch.tanh(z @ W.T + x), batch_dims=1, method=method, **TIGHT)
        return layer(torch.zeros(3, 5, dtype=DOUBLE), x)

    assert torch.autograd.gradcheck(solve, (cell.W, x), atol=1e-6)


def test_gradients_are_those_of_the_unrolled_iteration():
    cell, x = Cell(), normal(3, 5, seed=1)
    z = torch.zeros(3, 5, dtype=DOUBLE)
    for _ in range(200):
        z = cell(z, x)
    (unrolled,) = torch.autograd.grad((z**2).sum(), cell.W)
    layer = Implicit(cell, batch_dims=1, **TIGHT)
    value = layer(torch.zeros(3, 5, dtype=DOUBLE), x)
    (implicit,) = torch.autograd.grad((value**2).sum(), cell.W)
    assert torch.allclose(implicit, unrolled, atol=1e-9)
    assert layer.limit.evaluations < 40


def test_trees_have_gradients():
    a = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)

    def evaluate(state):
        return {"u": a * state["v"] + 1, "v": 0.5 * state["u"].sum() * torch.ones(2, dtype=DOUBLE), "unit": "m"}

    zero = {"u": torch.zeros(2, dtype=DOUBLE), "v": torch.zeros(2, dtype=DOUBLE), "unit": "m"}
    state = Implicit(evaluate, **TIGHT)(zero)
    assert state["unit"] == "m"
    # u = 1 / (1 - a) in both elements
    (gradient,) = torch.autograd.grad(state["u"].sum(), a)
    assert float(gradient) == pytest.approx(2 / (1 - 0.3) ** 2, abs=1e-9)


def test_a_layer_trains():
    torch.manual_seed(0)
    cell = Cell().to(torch.float32)
    layer = Implicit(cell, batch_dims=1, tolerance=1e-5)
    x = torch.randn(16, 5)
    target = torch.randn(16, 5) * 0.3
    optimizer = torch.optim.Adam(cell.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = (layer(torch.zeros(16, 5), x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert set(layer.state_dict()) == {"module.W"}


def test_the_graph_does_not_grow_with_the_iterations():
    cell, x = Cell(), normal(3, 5, seed=1)
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: packed.append(1) or tensor, lambda tensor: tensor):
        Implicit(cell, batch_dims=1, method=Plain(), **TIGHT)(torch.zeros(3, 5, dtype=DOUBLE), x)
    assert len(packed) < 10


def test_without_gradients_nothing_more_is_evaluated():
    calls = []

    def evaluate(z):
        calls.append(1)
        return 0.5 * z + 1

    layer = Implicit(evaluate)
    with torch.no_grad():
        layer(torch.zeros(2))
    assert len(calls) == layer.limit.evaluations


def test_an_adjoint_may_be_solved_in_another_way():
    cell, x = Cell(), normal(3, 5, seed=1)
    layer = Implicit(cell, batch_dims=1, adjoint=LimitOptions(method=Plain(), max_evaluations=3), **TIGHT)
    value = layer(torch.zeros(3, 5, dtype=DOUBLE), x)
    with pytest.raises(NoLimit, match="evaluations"):
        value.sum().backward()


def test_dropout_inside_is_refused():
    layer = Implicit(nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.5)))
    with pytest.raises(ValueError, match=r"module\.eval\(\)"):
        layer(torch.zeros(32))


def test_a_limit_without_the_module_is_the_same():
    cell, x = Cell(), normal(3, 5, seed=1)
    layer = Implicit(cell, batch_dims=1)
    z0 = torch.zeros(3, 5, dtype=DOUBLE)
    alone = fixed_point(lambda z: cell(z, x), z0, batch_dims=1)
    assert torch.allclose(layer(z0, x).detach(), alone.value, atol=1e-6)
