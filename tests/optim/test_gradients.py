"""Ways to the gradients of a window agree; what a step draws comes with it; several optimisers keep to their losses."""

import pytest
import torch
from optim.loops import EXACT, SEED, XS, YS, Net, ahead, plain, same
from torch import nn, optim
from torch.nn import functional

from forerun import Absolute, Picard, Sequential, Sliding
from forerun.optim import AutoGradients, Batched, Loop, OneByOne, Vmapped, seeded


def batch(step):
    """Rows of a step."""
    chosen = torch.randint(len(XS), (16,))
    return XS[chosen], YS[chosen]


def single(model, step, data):
    xs, ys = data
    return functional.cross_entropy(model(xs), ys) / (1 + 0.1 * step)


def together(params, steps, data):
    xs, ys = data
    hidden = torch.tanh(torch.baddbmm(params["first.bias"].unsqueeze(1), xs, params["first.weight"].mT))
    logits = torch.baddbmm(params["last.bias"].unsqueeze(1), hidden, params["last.weight"].mT)
    losses = functional.cross_entropy(logits.flatten(0, 1), ys.flatten(), reduction="none")
    return losses.reshape(ys.shape).mean(1) / (1 + 0.1 * steps)


def plain_single(model, step):
    return single(model, step, batch(step))


WAYS = [OneByOne(), Vmapped(), Batched(together), AutoGradients()]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_any_way_gives_the_plain_loop(way):
    first, second = Net(0.0), Net(0.0)
    truth = plain(first, optim.Adam(first.parameters(), 0.02), 20, loss=plain_single)[0]
    optimizer = optim.Adam(second.parameters(), 0.02)
    loop = Loop(
        second, optimizer, single, data=batch, seed=SEED, gradients=way, window=Sliding(5), tolerance=Absolute(1e-7)
    )
    events = list(loop.run(20))
    assert [event.loss for event in events] == pytest.approx(truth, rel=1e-4)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3)


def test_suited_takes_vmap_where_it_may():
    model = Net(0.0)
    loop = Loop(model, optim.SGD(model.parameters(), 0.1), single, data=batch)
    assert not any("one by one" in note for note in loop.run(4).solution().notes)


@pytest.mark.parametrize("way", [Vmapped(), Batched(lambda p, steps: p["x"].square().sum(1))], ids=["vmap", "batched"])
def test_a_round_is_one_call(way):
    calls = []

    def loss(params, step):
        calls.append(step)
        return params["x"].square().sum()

    def batched(params, steps):
        calls.append(steps)
        return params["x"].square().sum(1)

    params = {"x": nn.Parameter(torch.ones(3))}
    way = Batched(batched) if isinstance(way, Batched) else way
    loop = Loop(params, optim.SGD([params["x"]], 0.1), loss, gradients=way, window=Sliding(4))
    running = loop.run(12)
    calls.clear()
    assert len(calls) < running.solution().rounds + 1 <= 13


def test_trees_of_any_shape_come_as_they_went():
    bare = nn.Parameter(torch.ones(2))
    nested = {"a": [nn.Parameter(torch.ones(3)), (nn.Parameter(torch.ones(1)),)], "net": nn.Linear(2, 1)}
    leaves = [nested["a"][0], nested["a"][1][0], *nested["net"].parameters()]

    def loss(params, step):
        assert isinstance(params["a"][1], tuple)
        return params["net"](params["a"][0][:2]).sum() + params["a"][1][0].sum() ** 2

    events = list(Loop(nested, optim.SGD(leaves, 0.1), loss).run(2))
    assert set(events[-1].params) == {"a", "net"}
    assert set(events[-1].params["net"]) == {"weight", "bias"}
    assert torch.equal(events[-1].params["a"][0], nested["a"][0])
    event = list(Loop(bare, optim.SGD([bare], 0.1), lambda x, step: x.sum()).run(1))[-1]
    torch.testing.assert_close(event.params, torch.full((2,), 0.9))
    model = Net()
    assert list(Loop(model.parameters(), optim.SGD(model.parameters(), 0.1), lambda ps, step: ps[0].sum()).run(1))


def game(params, step):
    """Two players: the loss of each is minimised over its own parameters alone."""
    x, y = params["x"], params["y"]
    noise = 0.1 * torch.randn(3)
    value = (x * y).sum() + 0.5 * (x - 1 + noise).square().sum()
    return value, 0.3 * y.square().sum() - (x * y).sum()


def players():
    params = {"x": nn.Parameter(torch.ones(3)), "y": nn.Parameter(torch.full((3,), 0.5))}
    return params, [optim.Adam([params["x"]], 0.05), optim.SGD([params["y"]], 0.1, momentum=0.9)]


def played(steps):
    """The plain loop of two losses: both gradients at the same point, then both steps."""
    params, optimizers = players()
    for step in range(steps):
        with seeded(SEED, step):
            losses = game(params, step)
        gradients = [
            torch.autograd.grad(loss, params[name], retain_graph=True)[0]
            for loss, name in zip(losses, ("x", "y"), strict=True)
        ]
        for name, gradient in zip(("x", "y"), gradients, strict=True):
            params[name].grad = gradient
        for each in optimizers:
            each.step()
    return params, optimizers


@pytest.mark.parametrize("method", [Picard(), Sequential()], ids=["Picard", "Sequential"])
def test_several_optimisers_with_a_loss_each_take_their_steps_in_order(method):
    truth, true_optimizers = played(20)
    params, optimizers = players()
    events, _ = ahead(params, optimizers, 20, loss=game, method=method)
    assert same(truth, params)
    assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(true_optimizers, optimizers, strict=True))
    assert len(events[0].losses) == 2
    assert events[0].loss == pytest.approx(sum(events[0].losses))


def test_several_losses_are_mapped_too():
    def quiet(params, step, noise):
        x, y = params["x"], params["y"]
        return (x * y).sum() + 0.5 * (x - 1 + noise).square().sum(), 0.3 * y.square().sum() - (x * y).sum()

    truth, _ = played(20)
    params, optimizers = players()
    options = EXACT | {"gradients": Vmapped(), "tolerance": Absolute(1e-7)}
    Loop(params, optimizers, quiet, data=lambda step: 0.1 * torch.randn(3), **options).run(20).solution()
    for name in truth:
        torch.testing.assert_close(truth[name], params[name], atol=1e-5, rtol=1e-4)


def test_a_critic_that_is_trained_at_the_same_point_is_part_of_the_state():
    """As in variational score distillation: one scalar, each part detached from the other's parameters."""

    def loss(params, step):
        theta, phi = params
        target = torch.randn(4)
        distilled = ((phi(target) - target).detach() * theta).sum()
        return distilled + functional.mse_loss(phi(theta.detach() + target), target)

    def build():
        torch.manual_seed(0)
        theta, phi = nn.Parameter(torch.zeros(4)), nn.Linear(4, 4)
        return [theta, phi], [optim.Adam([theta], 0.05), optim.AdamW(phi.parameters(), 0.01)]

    truth, optimizers = build()
    for step in range(15):
        for each in optimizers:
            each.zero_grad()
        with seeded(SEED, step):
            loss(truth, step).backward()
        for each in optimizers:
            each.step()
    params, ours = build()
    ahead(params, ours, 15, loss=loss)
    assert torch.equal(truth[0], params[0])
    assert same(truth[1].state_dict(), params[1].state_dict())
    assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(optimizers, ours, strict=True))
