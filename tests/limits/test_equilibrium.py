"""Equilibrium: any module to its limit, damped and bounded, with exact gradients; and a network on graphs."""

import itertools

import pytest
import torch
from limits.maps import DOUBLE, normal
from torch import nn

from forerun.limits import AndersonMixing, Banach, LimitStatus, NoLimit, Plain
from forerun.limits.equilibrium import PIGN, BoundedWeight, Equilibrium, GraphOperator, bound_weights

TIGHT = {"tolerance": 1e-12}
RING = torch.tensor([[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 0, 1, 2, 3, 4, 5]])


def network(*sizes):
    torch.manual_seed(0)
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, dtype=DOUBLE), nn.Tanh()]
    return nn.Sequential(*layers)


class Recycled(nn.Module):
    """A refinement of a state by an input, as users write it."""

    def __init__(self):
        super().__init__()
        self.lift = network(5, 9, 3)

    def forward(self, z, x, *, scale):
        return scale * self.lift(torch.cat([z, x], -1))


def test_the_limit_is_one():
    layer = Equilibrium(Recycled(), lipschitz=0.9, batch_dims=1, **TIGHT)
    x = normal(4, 2, seed=3)
    z = layer(torch.zeros(4, 3, dtype=DOUBLE), x, scale=0.9)
    assert torch.allclose(layer.step.module(z, x, scale=0.9), z, atol=1e-10)
    assert layer.limit.status.done
    assert torch.allclose(layer.iterate(torch.zeros(4, 3, dtype=DOUBLE), x, steps=300, scale=0.9)[-1], z, atol=1e-10)


def test_implicit_gradients_are_those_of_the_unrolled_iteration():
    layer = Equilibrium(Recycled(), lipschitz=0.8, share=0.7, batch_dims=1, **TIGHT)
    x, z0 = normal(4, 2, seed=3).requires_grad_(), torch.zeros(4, 3, dtype=DOUBLE)
    wanted = [x, *layer.parameters()]
    # a mean over many entries, whose gradients are far smaller than a tolerance
    implicit = torch.autograd.grad(1e-9 * layer(z0, x, scale=0.9).square().mean(), wanted)
    unrolled = torch.autograd.grad(1e-9 * layer.iterate(z0, x, steps=200, scale=0.9)[-1].square().mean(), wanted)
    for one, other in zip(implicit, unrolled, strict=True):
        assert torch.allclose(one, other, rtol=1e-7, atol=1e-20)
    assert layer.search.adjoint_limit.status.done


def test_gradients_of_every_size_are_solved_to_the_tolerance():
    """A tolerance is a share of the gradient that comes in, of each problem by itself."""
    layer = Equilibrium(network(3, 3), lipschitz=0.9, batch_dims=1, tolerance=1e-6)
    z0 = normal(2, 3).requires_grad_()
    weight = next(layer.parameters())
    for sizes in ([1e-12, 1.0], [1e8, 1e-8], [0.0, 1.0]):
        factor = torch.tensor(sizes, dtype=DOUBLE)[:, None]
        (implicit,) = torch.autograd.grad((factor * layer(z0)).sum(), weight)
        (unrolled,) = torch.autograd.grad((factor * layer.iterate(z0, steps=200)[-1]).sum(), weight)
        assert torch.allclose(implicit, unrolled, rtol=1e-4, atol=1e-5 * max(sizes))


def test_damping_ends_a_cycle():
    turn = nn.Linear(2, 2, bias=False, dtype=DOUBLE)
    turn.weight.data = -0.999999999 * torch.eye(2, dtype=DOUBLE)
    settings = {"method": Plain(), "max_evaluations": 60}
    z0 = torch.ones(2, dtype=DOUBLE)
    with pytest.raises(NoLimit):
        Equilibrium(turn, **settings)(z0)
    hesitant = Equilibrium(turn, throw=False, **settings)
    hesitant(z0)
    assert hesitant.limit.status is LimitStatus.OUT_OF_BUDGET
    damped = Equilibrium(turn, share=0.5, tolerance=1e-9, **settings)
    assert float(damped(z0).detach().norm()) < 1e-8


@pytest.mark.parametrize(
    "part, shape",
    [
        (nn.Linear(4, 7), (4,)),
        (nn.Conv1d(3, 5, 3, padding=1), (3, 20)),
        (nn.Conv2d(2, 4, 3, padding=1), (2, 9, 9)),
    ],
    ids=["matrix", "line", "image"],
)
def test_a_bounded_operator_has_its_norm_below_the_bound(part, shape):
    part = part.double()
    part.weight.data = 10 * normal(*part.weight.shape)
    bound_weights(part, 0.7)
    inputs = torch.eye(torch.Size(shape).numel(), dtype=DOUBLE).reshape(-1, *shape)
    with torch.no_grad():
        matrix = (part(inputs) - part(torch.zeros_like(inputs))).flatten(1)
    assert float(torch.linalg.matrix_norm(matrix, 2)) <= 0.7 + 1e-12
    assert float(torch.linalg.matrix_norm(matrix, 2)) > 0.2


def test_small_weights_stay_and_gradients_go_through():
    linear = nn.Linear(3, 3)
    linear.weight.data = 0.1 * torch.eye(3)
    before = linear.weight.detach().clone()
    bound_weights(linear, 0.9)
    assert torch.equal(linear.weight, before)
    linear(torch.ones(3)).sum().backward()
    assert linear.parametrizations.weight.original.grad.abs().sum() > 0
    zero = BoundedWeight(0.9)(torch.zeros(2, 2))
    assert torch.equal(zero, torch.zeros(2, 2))


def test_a_bounded_network_has_a_proven_limit():
    layer = Equilibrium(network(6, 6, 6), lipschitz=0.9, certificate=Banach(0.9), **TIGHT)
    z = layer(normal(6))
    assert layer.limit.status is LimitStatus.CERTIFIED
    assert torch.allclose(z, layer(5 * normal(6, seed=1)), atol=1e-10)


@pytest.mark.parametrize(
    "make, error, says",
    [
        (lambda: Equilibrium(torch.tanh), TypeError, "Implicit"),
        (lambda: Equilibrium(nn.Linear(2, 2), share=0.0), ValueError, "share=0.0"),
        (lambda: Equilibrium(nn.Linear(2, 2), share=float("nan")), ValueError, "share=nan"),
        (lambda: Equilibrium(nn.Tanh(), lipschitz=0.9), ValueError, "no matrix"),
        (lambda: Equilibrium(nn.Linear(2, 2), lipschitz=-1.0), ValueError, "bound=-1"),
        (lambda: bound_weights(nn.ConvTranspose2d(2, 2, 3), 0.9), ValueError, "transposed"),
        (lambda: Equilibrium(nn.Linear(2, 2)).iterate(torch.zeros(2), steps=0), ValueError, "steps=0"),
        (lambda: Equilibrium(nn.Linear(2, 3))(torch.zeros(2)), ValueError, "shape"),
        (lambda: Equilibrium(nn.Sequential(nn.Linear(9, 9), nn.Dropout(0.5)))(torch.ones(9)), ValueError, "eval"),
        (lambda: PIGN(3, 2, lipschitz=1.0), ValueError, "contraction"),
        (lambda: PIGN(3, 2)(torch.zeros(6, 4), RING), ValueError, "takes"),
        (lambda: PIGN(3, 2)(torch.zeros(4, 3), RING), ValueError, "nodes 0 to 5"),
        (lambda: PIGN(3, 2)(torch.zeros(6, 3), RING.T), ValueError, "edge_index"),
        (lambda: PIGN(3, 2)(torch.zeros(6, 3), RING, -torch.ones(12)), ValueError, "edge_weight"),
    ],
)
def test_what_has_no_limit_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


# Graphs.


def test_the_operator_of_a_graph_does_not_stretch():
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 9, (2, 30), generator=generator)  # directed, with edges twice and loops
    weights = torch.rand(30, generator=generator, dtype=DOUBLE)
    graph = GraphOperator.from_edges(edges, 9, weights, DOUBLE)
    matrix = graph.propagate(torch.eye(9, dtype=DOUBLE))
    assert float(torch.linalg.matrix_norm(matrix, 2)) <= 1 + 1e-12
    alone = GraphOperator.from_edges(torch.empty(2, 0, dtype=torch.int64), 3)
    assert torch.equal(alone.propagate(torch.eye(3)), torch.eye(3))


def test_the_operator_is_that_of_torch_geometric():
    functional = pytest.importorskip("torch_geometric.nn.conv.gcn_conv")
    graph = GraphOperator.from_edges(RING, 6)
    edges, weights = functional.gcn_norm(RING, num_nodes=6)
    assert torch.equal(edges, torch.stack([graph.sources, graph.targets]))
    assert torch.allclose(weights, graph.weights.squeeze(1))


def test_a_graph_network_goes_to_one_limit():
    torch.manual_seed(0)
    net = PIGN(3, 2, certificate=Banach(0.95), tolerance=1e-10, lipschitz=0.95).double()
    x = normal(6, 3)
    outputs = net(x, RING)
    assert net.limit.status is LimitStatus.CERTIFIED
    assert torch.allclose(net.iterate(x, RING, steps=600)[-1], outputs, atol=1e-8)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    places = torch.argsort(order)
    assert torch.allclose(net(x[order], places[RING]), outputs[order], atol=1e-8)


def test_a_graph_network_learns_by_its_limit():
    torch.manual_seed(0)
    net = PIGN(3, 1, tolerance=1e-6)
    x, wanted = normal(6, 3, dtype=torch.float32), torch.linspace(-1, 1, 6)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    losses = []
    for _ in range(30):
        loss = (net(x, RING) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_layers_of_torch_geometric_are_iterated():
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    layer = Equilibrium(geometric.GCNConv(4, 4), lipschitz=0.8, method=AndersonMixing(5), tolerance=1e-6)
    z = layer(torch.ones(6, 4), RING)
    assert torch.allclose(layer.step.module(z, RING), z, atol=1e-4)
    z.sum().backward()
    assert layer.step.module.bias.grad.abs().sum() > 0
