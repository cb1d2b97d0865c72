"""What the user changes between two steps, in a body, a callback, a hook or between runs, is gone on from as it is."""

import warnings

import pytest
import torch
from optim.loops import EXACT, SEED, XS, Net, loss, plain, same
from torch import nn, optim
from torch.optim import lr_scheduler as lrs

from forerun import Status
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.optim import Loop, SaveEvery, StepLength, seeded

STEPS = 12


def momentum(model):
    return optim.SGD(model.parameters(), 0.1, momentum=0.9)


def set_rate(model, optimizer, step):
    for group in optimizer.param_groups:
        group["lr"] = 0.1 * 0.7**step


def set_momentum(model, optimizer, step):
    optimizer.param_groups[0]["momentum"] = 0.9 - 0.05 * step


def damp_moments(model, optimizer, step):
    for entry in optimizer.state.values():
        entry["momentum_buffer"].mul_(0.9)


def forget_moments(model, optimizer, step):
    optimizer.state.clear()


def decay(model, optimizer, step):
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(1 - 1e-5)


def decay_data(model, optimizer, step):
    model.first.weight.data.mul_(0.99)


def replace_data(model, optimizer, step):
    model.first.weight.data = model.first.weight.data * 0.99


def freeze(model, optimizer, step):
    model.first.requires_grad_(step % 2 == 0)


def widen(model, optimizer, step):
    if step == 5:
        model.double()
        for entry in optimizer.state.values():
            entry["momentum_buffer"] = entry["momentum_buffer"].double()


def leave_training(model, optimizer, step):
    model.train(step % 3 == 0)


def hook_on_parameter(model, optimizer, step):
    if step == 4:
        model.first.weight.register_hook(lambda gradient: 0.5 * gradient)


def any_dtype(model, step):
    rows = torch.randint(len(XS), (16,))
    return model(XS[rows].to(model.first.weight.dtype)).square().mean()


CHANGES = [
    set_rate,
    set_momentum,
    damp_moments,
    forget_moments,
    decay,
    decay_data,
    replace_data,
    freeze,
    widen,
    leave_training,
    hook_on_parameter,
]


def pair():
    models = Net(), Net()
    return [(model, momentum(model)) for model in models]


def assert_same(first, second):
    assert same(first[0].state_dict(), second[0].state_dict())
    assert same(first[1].state_dict(), second[1].state_dict())


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("change", CHANGES)
def test_what_the_body_changes_is_gone_on_from(change, every):
    def apply(model, optimizer, step):
        if step % every == 0 or change in {widen, hook_on_parameter}:
            change(model, optimizer, step)

    first, second = pair()
    plain(*first, STEPS, loss=any_dtype, each=lambda step: apply(*first, step))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WitnessWarning)
        for event in Loop(*second, any_dtype, **EXACT).run(STEPS):
            apply(*second, event.step)
    assert_same(first, second)


@pytest.mark.parametrize("every", [1, 5])
def test_what_a_callback_changes_is_too(every):
    def apply(model, optimizer, step):
        if step % every == 0:
            set_rate(model, optimizer, step)

    first, second = pair()
    plain(*first, STEPS, each=lambda step: apply(*first, step))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WitnessWarning)
        loop = Loop(*second, loss, **EXACT)
        solution = loop.run(STEPS, callback=lambda event: apply(*second, event.step)).solution()
    assert_same(first, second)
    assert solution.status is Status.SEQUENTIAL


def test_rare_changes_leave_the_run_in_parallel_and_need_no_word():
    first, second = pair()
    plain(*first, 20, each=lambda step: set_rate(*first, step) if step == 9 else None)
    running = Loop(*second, loss, **EXACT).run(20)
    for event in running:
        if event.step == 9:
            set_rate(*second, event.step)
    assert_same(first, second)
    assert running.solution().notes == ()


def test_changes_after_every_step_are_taken_in_order_with_one_word():
    _, second = pair()
    loop = Loop(*second, loss, **EXACT)
    with pytest.warns(WitnessWarning, match="the options of an optimiser is changed between its steps") as caught:
        solution = loop.run(STEPS, callback=lambda event: set_rate(*second, event.step)).solution()
    assert len(caught) == 1
    assert any("in order" in note for note in solution.notes)
    strict = Loop(*second, loss, **EXACT, strict=True)
    with pytest.raises(WitnessDisagrees, match="options of an optimiser"):
        strict.run(STEPS, callback=lambda event: set_rate(*second, event.step)).solution()


def test_a_change_after_the_last_step_stays():
    _, (model, optimizer) = pair()
    for event in Loop(model, optimizer, loss, **EXACT).run(STEPS):
        if event.step == STEPS - 1:
            nn.init.constant_(model.first.weight, 0.5)
    assert torch.equal(model.first.weight, torch.full_like(model.first.weight, 0.5))


def test_a_change_before_a_break_or_after_it_is_gone_on_from():
    first, second = pair()
    changes = {4: lambda each: set_rate(*each, 3), 8: lambda each: decay_data(*each, 0)}
    plain(*first, STEPS, each=lambda step: changes.get(step, lambda each: None)(first))
    running = Loop(*second, loss, **EXACT).run(STEPS)
    for event in running:
        if event.step == 4:
            changes[4](second)
            break
    for event in running:
        if event.step == 8:
            break
    changes[8](second)
    assert running.solution().step == STEPS
    assert_same(first, second)


def test_a_change_before_the_first_step_is_gone_on_from():
    first, second = pair()
    running = Loop(*second, loss, **EXACT).run(STEPS)
    for each in (first, second):
        set_rate(*each, 2)
    plain(*first, STEPS)
    running.solution()
    assert_same(first, second)


def test_a_body_that_raises_keeps_what_it_changed():
    _, (model, optimizer) = pair()
    loop = Loop(model, optimizer, loss, **EXACT)

    def fail(event):
        if event.step == 5:
            nn.init.constant_(model.first.weight, 0.5)
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        loop.run(STEPS, callback=fail).solution()
    assert torch.equal(model.first.weight, torch.full_like(model.first.weight, 0.5))
    assert loop.step == 6


def test_a_scheduler_of_ones_own_is_stepped_once_an_epoch():
    first, second = pair()
    schedulers = [lrs.StepLR(each[1], 1, 0.5) for each in (first, second)]
    plain(*first, 20, each=lambda step: schedulers[0].step() if step % 5 == 4 else None)
    for event in Loop(*second, loss, **EXACT).run(20):
        if event.step % 5 == 4:
            schedulers[1].step()
    assert_same(first, second)
    assert schedulers[0].get_last_lr() == schedulers[1].get_last_lr()


def test_a_number_that_the_loss_reads_and_the_body_changes_is_noticed():
    weights = {"first": 1.0, "second": 1.0}

    def weighted(name):
        return lambda model, step: loss(model, step) * weights[name]

    def change(name, step):
        weights[name] = 1.0 + step

    first, second = pair()
    plain(*first, STEPS, loss=weighted("first"), each=lambda step: change("first", step))
    loop = Loop(*second, weighted("second"), **EXACT | {"tolerance": StepLength(0.5)})
    with pytest.warns(WitnessWarning, match="at step [12] "):
        loop.run(STEPS, callback=lambda event: change("second", event.step)).solution()
    assert_same(first, second)


@pytest.mark.parametrize("start", ["frozen", "free"])
def test_layers_may_freeze_and_thaw_between_runs(start):
    first, second = pair()
    for model, _ in (first, second):
        model.first.requires_grad_(start == "free")
    plain(*first, STEPS)
    loop = Loop(*second, loss, **EXACT)
    loop.run(STEPS).solution()
    for model, _ in (first, second):
        model.first.requires_grad_(start == "frozen")
    plain(*first, STEPS, start=STEPS)
    loop.run(STEPS).solution()
    assert_same(first, second)


def join_group(model, optimizer):
    model.first.requires_grad_(True)
    optimizer.add_param_group({"params": list(model.first.parameters()), "lr": 0.01})


def build_with_frozen_layer():
    model = Net()
    model.first.requires_grad_(False)
    return model, optim.Adam(model.last.parameters(), 0.02)


def test_a_group_may_join_between_runs():
    first, second = build_with_frozen_layer(), build_with_frozen_layer()
    plain(*first, STEPS)
    join_group(*first)
    plain(*first, STEPS, start=STEPS)
    loop = Loop(*second, loss, **EXACT)
    loop.run(STEPS).solution()
    join_group(*second)
    loop.run(STEPS).solution()
    assert_same(first, second)


def test_a_group_may_join_within_a_run():
    first, second = build_with_frozen_layer(), build_with_frozen_layer()
    plain(*first, 2 * STEPS, each=lambda step: join_group(*first) if step == 7 else None)
    loop = Loop(*second, loss, **EXACT)
    running = loop.run(2 * STEPS, callback=lambda event: join_group(*second) if event.step == 7 else None)
    with pytest.warns(WitnessWarning, match="requires_grad of params.first.weight"):
        running.solution()
    assert_same(first, second)


def test_averages_of_other_tensors_are_refused():
    model = Net()
    model.first.requires_grad_(False)
    loop = Loop(model, momentum(model), loss, **EXACT, ema=0.9)
    loop.run(3).solution()
    model.first.requires_grad_(True)
    with pytest.raises(ValueError, match="averages are kept of those that were"):
        loop.run(3)


def test_a_hook_that_freezes_is_the_plain_loops():
    first, second = pair()
    for model, optimizer in (first, second):
        optimizer.register_step_post_hook(lambda *arguments, model=model: model.first.requires_grad_(False))
    plain(*first, STEPS)
    loop = Loop(*second, loss, **EXACT)
    with pytest.warns(WitnessWarning):
        loop.run(STEPS).solution()
    assert_same(first, second)


# ---- gradients of the accepted step


def test_the_gradients_of_an_accepted_step_come_with_it():
    def clip(tensors):
        torch.nn.utils.clip_grad_norm_(tensors, 0.05)

    first, second = pair()
    raw, clipped = {}, {}
    for step in range(STEPS):
        first[1].zero_grad()
        with seeded(SEED, step):
            loss(first[0], step).backward()
        raw[step] = first[0].first.weight.grad.clone()
        clip(list(first[0].parameters()))
        clipped[step] = first[0].first.weight.grad.clone()
        first[1].step()
    for event in Loop(*second, loss, **EXACT, clip=clip).run(STEPS):
        assert torch.equal(event.gradients["first.weight"], raw[event.step])
        assert torch.equal(second[0].first.weight.grad, clipped[event.step])
    assert_same(first, second)


def test_a_gradient_that_the_loss_retains_is_there_for_the_body():
    def make(place):
        def retaining(model, step):
            hidden = model.first(XS[:8])
            hidden.retain_grad()
            place["hidden"] = hidden
            return (torch.tanh(hidden) * torch.randn(8, 8)).square().mean()

        return retaining

    sums, places = [torch.zeros(8, 8), torch.zeros(8, 8)], [{}, {}]

    def add(index):
        sums[index] += places[index]["hidden"].grad

    def build():
        model = Net()
        return model, optim.Adam(model.first.parameters(), 0.02)

    first, second = build(), build()
    plain(*first, STEPS, loss=make(places[0]), each=lambda step: add(0))
    for model, _ in (first, second):
        model.last.requires_grad_(False)
    loop = Loop(*second, make(places[1]), **EXACT)
    with pytest.warns(WitnessWarning, match="retains the gradient"):
        loop.run(STEPS, callback=lambda event: add(1)).solution()
    assert torch.equal(*sums)


def test_a_plain_loop_resumes_from_its_file(tmp_path):
    path = tmp_path / "run.safetensors"
    first, second = pair()
    penalty = list(second[0].parameters())

    def outside(model, step):
        return loss(model, step) + 0.1 * penalty[0].square().sum()

    def inside(model, step):
        return loss(model, step) + 0.1 * model.first.weight.square().sum()

    plain(*first, STEPS, loss=inside)
    with pytest.warns(WitnessWarning):
        Loop(*second, outside, **EXACT).run(STEPS, save=SaveEvery(3, path), callback=lambda e: e.step == 6).solution()
    with pytest.warns(WitnessWarning):
        Loop(*second, outside, **EXACT).run(STEPS, resume=path).solution()
    assert_same(first, second)
