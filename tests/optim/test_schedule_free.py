"""Schedule-free optimisers: the package's own, step by step; modes that cannot be mixed up; loops that run ahead."""

import copy

import pytest
import schedulefree
import torch
from torch import nn

from forerun import Sliding
from forerun.optim import Loop, OneByOne, ScheduleFree, WrongParameters
from forerun.optim.step_directions import RootMeanSquare

SETTINGS = {
    "plain": {},
    "warm-up": {"warmup_steps": 7},
    "decay": {"weight_decay": 0.1},
    "late weights": {"warmup_steps": 3, "weight_decay": 0.01, "r": 2.0},
}
PAIRS = {
    "SGD": (lambda ps, **kw: ScheduleFree.sgd(ps, 0.3, beta=0.8, **kw),
            lambda ps, **kw: schedulefree.SGDScheduleFree(ps, 0.3, momentum=0.8, foreach=False, **kw)),
    "AdamW": (lambda ps, **kw: ScheduleFree.adamw(ps, 0.02, betas=(0.9, 0.99), **kw),
              lambda ps, **kw: schedulefree.AdamWScheduleFree(ps, 0.02, betas=(0.9, 0.99), foreach=False, **kw)),
}  # fmt: skip


def train_together(ours, theirs, steps, parameters, others):
    """Yield both after every step of one problem: a quadratic with noise that belongs to the step."""
    theirs.train()
    for step in range(steps):
        noise = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        for optimizer, tensors in ((ours, parameters), (theirs, others)):
            optimizer.zero_grad()
            scales = torch.arange(1.0, 7.0, dtype=torch.float64)
            (scales * (tensors[0] - noise).square()).sum().add(tensors[1].pow(4).sum()).div(8).backward()
            optimizer.step()
        yield step


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_step_is_that_of_the_package(kind, name):
    parameters = [torch.ones(6, dtype=torch.float64), torch.full((2, 2), 0.5, dtype=torch.float64)]
    parameters = [tensor.requires_grad_() for tensor in parameters]
    others = copy.deepcopy(parameters)
    settings = SETTINGS[name]
    renamed = {{"r": "weight_power"}.get(key, key): value for key, value in settings.items()}
    ours, theirs = PAIRS[kind][0](parameters, **renamed), PAIRS[kind][1](others, **settings)
    for step in train_together(ours, theirs, 40, parameters, others):
        torch.testing.assert_close(parameters, others, rtol=1e-10, atol=1e-12)
        if step % 10 == 9:
            with ours.averaged():
                theirs.eval()
                torch.testing.assert_close(parameters, others, rtol=1e-10, atol=1e-12)
                theirs.train()


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_average_is_that_of_the_steps(beta):
    """Without warm-up x is the plain mean of z_1 .. z_t, for any beta; with beta of zero training is plain SGD."""
    parameter = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
    plain = parameter.detach().clone().requires_grad_()
    optimizer, sgd = ScheduleFree.sgd([parameter], 0.1, beta=beta), torch.optim.SGD([plain], 0.1)
    ends = []
    for _ in range(20):
        for tensor, rule in ((parameter, optimizer), (plain, sgd)):
            rule.zero_grad()
            tensor.pow(4).sum().backward()
            rule.step()
        ends.append(optimizer.state[parameter]["z"].clone())
    with optimizer.averaged():
        torch.testing.assert_close(parameter.detach(), torch.stack(ends).mean(0))
    if beta == 0:
        torch.testing.assert_close(parameter, plain)


def small_training(steps=5, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = ScheduleFree.adamw(model, 0.01, **settings)
    inputs = torch.randn(16, 4)
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    return model, optimizer, inputs


def test_going_to_the_average_and_back_changes_no_bit():
    model, optimizer, inputs = small_training()
    before = copy.deepcopy(model.state_dict())
    for _ in range(100):
        with optimizer.averaged():
            pass
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with optimizer.averaged(), optimizer.averaged():
        assert optimizer.holds_average
        model.eval()(inputs)
    assert not optimizer.holds_average


def test_a_model_is_not_evaluated_with_the_parameters_of_training():
    model, optimizer, inputs = small_training()
    model.eval()
    with pytest.raises(WrongParameters, match=r"evaluation mode, but its parameters are those of training.*averaged"):
        model(inputs)
    with optimizer.averaged():
        model(inputs)
        model.train()
        with pytest.raises(WrongParameters, match=r"training mode, but its parameters are the average"):
            model(inputs)
        with pytest.raises(WrongParameters, match=r"a step was taken while"):
            optimizer.step()
    model(inputs)
    optimizer.step()


def test_an_error_inside_the_context_gives_the_parameters_of_training_back():
    model, optimizer, _ = small_training()
    before = [tensor.clone() for tensor in model.parameters()]
    with pytest.raises(KeyError), optimizer.averaged():
        raise KeyError
    assert all(map(torch.equal, before, model.parameters()))
    assert not optimizer.holds_average


@pytest.mark.parametrize("inside", [False, True])
def test_a_checkpoint_goes_on_with_the_same_bits(inside):
    model, optimizer, inputs = small_training(warmup_steps=3)
    if inside:
        optimizer.eval()
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    other, again, _ = small_training(0, warmup_steps=3)
    other.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for network, rule in ((model, optimizer), (other, again)):
        assert rule.holds_average == inside
        rule.train()
        for _ in range(5):
            rule.zero_grad()
            network(inputs).square().mean().backward()
            rule.step()
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_parameters_without_gradients_stay():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = ScheduleFree.adamw([used, unused], 0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.step(lambda: used.sum().backward())
    assert torch.equal(unused, torch.ones(2))
    with optimizer.averaged():
        assert torch.equal(unused, torch.ones(2))
        assert not torch.equal(used, torch.ones(2))


def test_groups_have_rates_of_their_own():
    slow, fast = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = ScheduleFree.sgd([{"params": [slow], "lr": 0.1}, {"params": [fast]}], 0.2)
    optimizer.step(lambda: (slow + fast).sum().backward())
    torch.testing.assert_close(1 - fast, 2 * (1 - slow))


def test_a_rate_of_zero_moves_nothing():
    tensor = torch.ones(2, requires_grad=True)
    optimizer = ScheduleFree.sgd([tensor], 0.0)
    optimizer.step(lambda: tensor.sum().backward())
    assert torch.equal(tensor, torch.ones(2))


@pytest.mark.parametrize("make", [ScheduleFree.sgd, ScheduleFree.adamw])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loop_ahead_ends_with_the_bits_of_the_plain_loop(make, dtype):
    inputs = torch.randn(64, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))

    def run_loop(**settings):
        torch.manual_seed(0)
        model = nn.Linear(5, 1).to(dtype)
        optimizer = make(model.parameters(), 0.05, warmup_steps=4)
        loss = lambda model, step: model(inputs[step % 8 :: 8]).sub(1).square().mean()  # noqa: E731
        solution = Loop(model, optimizer, loss, **settings).run(24).solution()
        with optimizer.averaged():
            return solution, [tensor.detach().clone() for tensor in model.parameters()]

    solution, ahead = run_loop(window=Sliding(8), tolerance=0.0, gradients=OneByOne())
    _, in_order = run_loop(window=Sliding(1), tolerance=0.0)
    assert all(map(torch.equal, ahead, in_order))
    assert solution.rounds <= 24


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"lr": -1.0}, "rate must be finite"),
        ({"lr": float("nan")}, "rate must be finite"),
        ({"beta": 1.5}, "beta is a share"),
        ({"weight_decay": -0.1}, "weight_decay must be"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        ScheduleFree([torch.ones(2, requires_grad=True)], **settings)


def test_what_it_cannot_train_is_refused():
    with pytest.raises(ValueError, match="parameters must be real"):
        ScheduleFree.sgd([torch.ones(2, dtype=torch.complex64, requires_grad=True)])
    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = ScheduleFree.sgd(embedding, 0.1)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="a gradient is sparse"):
        optimizer.step()
    with pytest.raises(ValueError, match="decay of a mean square"):
        RootMeanSquare(1.0)
    with pytest.raises(ValueError, match="floor"):
        RootMeanSquare(0.9, 0.0)
