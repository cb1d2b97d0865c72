"""What a replica of a loop would get wrong: the user's own loss says so, and the plain loop gives the answer."""

import copy
import warnings
from collections import deque

import pytest
import torch
from optim.loops import EXACT, SEED, XS, YS, Net, loss, plain, same
from torch import nn, optim
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from forerun import Absolute, Sliding, Status
from forerun.engine.witness import Witness, WitnessDisagrees, WitnessWarning
from forerun.optim import Batched, Loop, Vmapped, seeded

STEPS = 12


def pair(prepare=lambda model: None, build=Net):
    """Two models alike, with Adam each."""
    pairs = []
    for _ in range(2):
        model = build()
        prepare(model)
        pairs.append((model, optim.Adam(model.parameters(), 0.02)))
    return pairs


def batch(model, step):
    rows = torch.randint(len(XS), (16,))
    return model(XS[rows]), YS[rows]


# ---- what the replica does as the plain loop does


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations_are_computed_again_with_the_parameters_of_the_step(reentrant):
    def checkpointed(model, step):
        rows = XS[torch.randint(len(XS), (16,))].clone().requires_grad_()
        hidden = checkpoint(model.first, rows, use_reentrant=reentrant)
        return model.last(torch.tanh(hidden)).square().mean()

    first, second = pair()
    plain(*first, STEPS, loss=checkpointed)
    solution = Loop(*second, checkpointed, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())
    assert solution.witnessed >= 3


def mask_rows(model):
    mask = torch.ones_like(model.first.weight)
    mask[:4] = 0
    model.first.weight.register_hook(lambda gradient: gradient * mask)


def halve_afterwards(model):
    def halve(tensor):
        tensor.grad.mul_(0.5)

    model.last.bias.register_post_accumulate_grad_hook(halve)


@pytest.mark.parametrize("prepare", [mask_rows, halve_afterwards])
def test_hooks_of_parameters_are_called(prepare):
    first, second = pair(prepare)
    plain(*first, STEPS)
    Loop(*second, loss, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())
    assert not same(Net().first.weight, second[0].first.weight)


def test_masked_rows_stay_at_the_default_settings_too():
    _, (model, optimizer) = pair(mask_rows)
    before = model.first.weight[:4].detach().clone()
    Loop(model, optimizer, loss).run(20).solution()
    assert torch.equal(model.first.weight[:4], before)


def test_a_backward_within_the_loss_counts():
    def accumulated(model, step):
        (loss(model, step) / 2).backward()
        return loss(model, step) / 2

    first, second = pair()
    plain(*first, STEPS, loss=accumulated)
    Loop(*second, accumulated, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())


# ---- what it cannot do: a word, and the plain loop


def penalise_outside(model):
    """A loss with a penalty on the user's own tensors, not on those that it is given."""
    weight = model.first.weight
    return lambda given, step: loss(given, step) + 0.1 * weight.square().sum()


def weigh_by_outside(model):
    """A loss that reads the values of the user's own tensors alone: right at the first step, and there only."""
    weight = model.first.weight
    return lambda given, step: loss(given, step) * weight.detach().norm()


def clamp_inside(model):
    def clamped(given, step):
        with torch.no_grad():
            given.first.weight.clamp_(-0.2, 0.2)
        return loss(given, step)

    return clamped


def start_late(model):
    weight = model.first.weight
    return lambda given, step: loss(given, step) + (0.1 * weight.square().sum() if step >= 7 else 0.0)


FOREIGN = [penalise_outside, weigh_by_outside, clamp_inside, start_late]


@pytest.mark.parametrize("make", FOREIGN)
def test_a_loss_beyond_its_arguments_is_taken_in_order_with_one_word(make):
    first, second = pair()
    plain(*first, STEPS, loss=make(first[0]))
    loop = Loop(*second, make(second[0]), **EXACT)
    with pytest.warns(WitnessWarning, match="A replica cannot stand for this loop") as caught:
        solution = loop.run(STEPS).solution()
    assert len(caught) == 1
    assert same(first[0].state_dict(), second[0].state_dict())
    assert same(first[1].state_dict(), second[1].state_dict())
    assert solution.status is Status.SEQUENTIAL
    assert any("with your own loss and backward" in note for note in solution.notes)


@pytest.mark.parametrize("make", FOREIGN)
def test_strict_raises_instead(make):
    _, second = pair()
    loop = Loop(*second, make(second[0]), **EXACT, strict=True)
    with pytest.raises(WitnessDisagrees, match="strict=False"):
        loop.run(STEPS).solution()


def test_every_step_is_reported_once_though_the_run_began_again():
    first, second = pair()
    plain(*first, STEPS, loss=start_late(first[0]))
    loop = Loop(*second, start_late(second[0]), **EXACT)
    with pytest.warns(WitnessWarning):
        steps = [event.step for event in loop.run(STEPS)]
    assert steps == list(range(STEPS))
    assert same(first[0].state_dict(), second[0].state_dict())


def test_without_the_witness_the_solution_says_so():
    _, second = pair()
    solution = Loop(*second, penalise_outside(second[0]), **EXACT, witness=False).run(STEPS).solution()
    assert solution.witnessed == 0
    assert any("witness=False" in note for note in solution.notes)


def test_rows_that_are_renormalised_in_place_are_kept():
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(9, 5, max_norm=1.0), nn.Linear(5, 9))

    def embedded(model, step):
        words = torch.randint(9, (12,))
        return functional.cross_entropy(model(words), words.flip(0))

    first, second = pair(build=build)
    plain(*first, STEPS, loss=embedded)
    with pytest.warns(WitnessWarning, match="in place"):
        Loop(*second, embedded, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())


def test_what_a_loss_adds_up_outside_is_added_once_a_step():
    totals = torch.zeros(2)

    def make(place):
        def logging(model, step):
            value = loss(model, step)
            totals[place] += value.detach()
            return value

        return logging

    first, second = pair()
    plain(*first, STEPS, loss=make(0))
    with pytest.warns(WitnessWarning, match="the loss writes into 1 tensor"):
        Loop(*second, make(1), **EXACT).run(STEPS).solution()
    assert totals[0] == totals[1]


def test_batch_statistics_that_begin_late_are_the_plain_loops():
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    def late(model, step):
        rows = torch.randint(len(XS), (16,))
        hidden = model[0](XS[rows])
        hidden = model[1](hidden) if step >= 5 else hidden
        return functional.cross_entropy(model[2](hidden), YS[rows])

    first, second = pair(build=build)
    plain(*first, STEPS, loss=late)
    with pytest.warns(WitnessWarning, match=r"buffer\(s\) 1.num_batches_tracked"):
        Loop(*second, late, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())


def test_a_refused_batch_norm_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="changes the buffer"):
        Loop(model, optim.SGD(model.parameters(), 0.1), loss).run(3)
    assert same(dict(before), dict(model.state_dict()))


def test_a_loss_that_sets_the_rate_is_the_plain_loops():
    def make(optimizer):
        def setting(model, step):
            optimizer.param_groups[0]["lr"] = 0.02 / (1 + step)
            return loss(model, step)

        return setting

    first, second = pair()
    plain(*first, STEPS, loss=make(first[1]))
    with pytest.warns(WitnessWarning, match="options of an optimiser"):
        Loop(*second, make(second[1]), **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())


def test_an_optimiser_within_a_hook_is_the_plain_loops():
    def step_in_backward(model):
        inner = optim.SGD([model.first.weight], 0.01)

        def take_step(tensor):
            if tensor is model.first.weight:
                inner.step()

        model.first.weight.register_post_accumulate_grad_hook(take_step)

    first, second = pair(step_in_backward)
    plain(*first, STEPS)
    with pytest.warns(WitnessWarning, match="in place"):
        Loop(*second, loss, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())


# ---- teachers


def follow(teacher, model):
    with torch.no_grad():
        for target, source in zip(teacher.parameters(), model.parameters(), strict=True):
            target.lerp_(source, 0.3)


def consistent(teacher):
    def compared(model, step):
        rows = XS[torch.randint(len(XS), (16,))]
        return functional.mse_loss(model(rows), teacher(rows)) + loss(model, step)

    return compared


def taught():
    (model, optimizer), (other, other_optimizer) = pair()
    teachers = [copy.deepcopy(model).requires_grad_(False).eval() for _ in range(2)]
    plain(model, optimizer, STEPS, loss=consistent(teachers[0]), each=lambda step: follow(teachers[0], model))
    return (model, teachers[0]), (other, teachers[1]), other_optimizer


def test_a_teacher_that_follows_in_the_body_is_the_plain_loops():
    truth, (model, teacher), optimizer = taught()
    loop = Loop(model, optimizer, consistent(teacher), seed=SEED, window=Sliding(6))
    with pytest.warns(WitnessWarning, match=r"tensor of shape \[8, 6\] that the loss reads"):
        loop.run(STEPS, callback=lambda event: follow(teacher, model)).solution()
    assert all(same(one.state_dict(), other.state_dict()) for one, other in zip(truth, (model, teacher), strict=True))


def test_a_teacher_that_follows_by_a_hook_is_the_plain_loops():
    truth, (model, teacher), optimizer = taught()
    optimizer.register_step_post_hook(lambda *arguments: follow(teacher, model))
    with pytest.warns(WitnessWarning, match="a hook of the optimiser's step writes"):
        Loop(model, optimizer, consistent(teacher), seed=SEED, window=Sliding(6)).run(STEPS).solution()
    assert all(same(one.state_dict(), other.state_dict()) for one, other in zip(truth, (model, teacher), strict=True))


def test_a_teacher_that_a_hook_moves_late_is_refused():
    _, (model, optimizer) = pair()
    teacher = copy.deepcopy(model).requires_grad_(False).eval()

    def hook(*arguments):
        if float(next(iter(optimizer.state.values()))["step"]) > 3:
            follow(teacher, model)

    optimizer.register_step_post_hook(hook)
    with pytest.raises(ValueError, match="change it in the body of the loop instead"):
        Loop(model, optimizer, consistent(teacher), **EXACT).run(STEPS).solution()


# ---- how much of it


def test_steps_are_witnessed_at_little_cost():
    calls = []

    def counted(model, step):
        calls.append(int(step))
        return loss(model, step)

    _, second = pair()
    loop = Loop(*second, counted, **EXACT)
    running = loop.run(200)
    calls.clear()
    solution = running.solution()
    assert len(calls) - solution.evaluations <= 6
    assert solution.witnessed == len(calls) - solution.evaluations + 2
    calls.clear()
    again = loop.run(200).solution()
    assert again.witnessed == len(calls) - again.evaluations == 3


def test_the_draw_is_the_users():
    _, second = pair()
    solution = Loop(*second, loss, **EXACT, witness=Witness(share=1.0)).run(10).solution()
    assert solution.witnessed == 2 + 9


def test_gradients_together_are_witnessed_as_well():
    def quiet(model, step, rows):
        return model(rows).square().mean()

    model = Net(0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = Loop(model, optim.Adam(model.parameters(), 0.02), quiet, data=lambda step: torch.randn(5, 6),
                    gradients=Vmapped(), window=Sliding(4), tolerance=Absolute(1e-6))  # fmt: skip
        assert loop.run(STEPS).solution().witnessed >= 4


# ---- batches and optimisers


@pytest.mark.parametrize("together", [Vmapped(), Batched(lambda p, steps, data: (p["x"] * data).square().sum((1, 2)))])
def test_the_last_batch_of_an_epoch_may_be_smaller(together):
    batches = torch.randn(50, 3).split(16)

    def squares(params, step, rows):
        return (params["x"] * rows).square().sum()

    def data(step):
        return batches[step % len(batches)]

    def build():
        params = {"x": nn.Parameter(torch.ones(3))}
        return params, optim.Adam([params["x"]], 0.02)

    truth, optimizer = build()
    for step in range(STEPS):
        optimizer.zero_grad()
        with seeded(SEED, step):
            squares(truth, step, data(step)).backward()
        optimizer.step()
    if isinstance(together, Batched):
        together = Batched(lambda p, steps, data: (p["x"].unsqueeze(1) * data).square().sum((1, 2)))
    params, optimizer = build()
    options = EXACT | {"gradients": together, "tolerance": Absolute(1e-7)}
    Loop(params, optimizer, squares, data=data, **options).run(STEPS).solution()
    torch.testing.assert_close(params["x"], truth["x"], atol=1e-5, rtol=1e-5)


class LateKeys(optim.Optimizer):
    """Makes a key of its group, one of its state and a deque at its first step."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.02})

    @torch.no_grad()
    def step(self, closure=None):
        self.state["calls"] = self.state.get("calls", 0) + 1
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for tensor in group["params"]:
                entry = self.state[tensor]
                past = entry.setdefault("past", deque(maxlen=3))
                past.append(tensor.grad.clone())
                scale = group["lr"] / (group["step"] + self.state["calls"])
                tensor.add_(sum(past), alpha=-scale)


def test_an_optimiser_that_makes_its_keys_at_its_first_step_has_the_bits():
    models = Net(), Net()
    first, second = [(model, LateKeys(list(model.parameters()))) for model in models]
    plain(*first, STEPS)
    Loop(*second, loss, **EXACT).run(STEPS).solution()
    assert same(first[0].state_dict(), second[0].state_dict())
    assert second[1].param_groups[0]["step"] == STEPS
    assert second[1].state["calls"] == STEPS
