"""Stopping, breaking off, interrupting and going on: to the same bits, from memory and from files."""

import pytest
import torch
from optim.loops import EXACT, Net, loss, plain, same
from torch import nn, optim
from torch.optim import lr_scheduler

from forerun import Absolute, Checkpoint, Picard, Process, Sequential, Sliding, Status, solve
from forerun.optim import Loop, OneByOne, SaveEvery, StepLength

STEPS = 24
WAYS = {
    "exact": {},
    "window": {"tolerance": StepLength(0.05)},
    "no control": {"tolerance": Absolute(float("inf"))},
    "sequential": {"method": Sequential(5)},
}


def build(**options):
    """A loop with everything that a state can carry."""
    model = Net()
    optimizer = optim.Adam(model.parameters(), 0.02)
    scheduler = lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.MultiStepLR(optimizer, [9])], [5]
    )
    return model, optimizer, Loop(model, optimizer, loss, **(EXACT | {"scheduler": scheduler, "ema": 0.9} | options))


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def whole(request):
    """A way to run, and what comes of a run in one piece."""
    model, optimizer, loop = build(**request.param)
    events = list(loop.run(STEPS))
    return request.param, model, optimizer, loop.average, [event.loss for event in events]


@pytest.mark.parametrize("stop", [1, 7, 20])
def test_a_file_goes_on_to_the_same_bits(whole, tmp_path, stop):
    options, truth, true_optimizer, average, losses = whole
    path = tmp_path / "run.safetensors"
    _, _, loop = build(**options)
    seen = []

    def late(event):
        seen.append(event.loss)
        return event.step + 1 >= stop

    stopped = loop.run(STEPS, callback=late, save=SaveEvery(5, path)).solution()
    assert stopped.status is Status.STOPPED
    assert stop <= stopped.step == loop.step < STEPS
    model, optimizer, again = build(**options)
    running = again.run(STEPS, resume=path)
    rest = [event.loss for event in running]
    assert seen + rest == losses
    assert same(truth.state_dict(), model.state_dict())
    assert same(true_optimizer.state_dict(), optimizer.state_dict())
    assert same(average, again.average)
    assert again.step == STEPS
    assert running.solution().checkpoint.step == STEPS


@pytest.mark.parametrize("last", [0, 9, 10, 11, 12])
@pytest.mark.parametrize("options", [{}, {"tolerance": Absolute(float("inf"))}], ids=["exact", "no control"])
def test_a_run_that_is_broken_off_stands_at_the_last_step_seen(options, last):
    seen = {}
    truth, true_optimizer, whole = build(**options)
    for event in whole.run(STEPS):
        held = {name: tensor.clone() for name, tensor in true_optimizer.state[next(truth.parameters())].items()}
        seen[event.step] = {name: tensor.clone() for name, tensor in truth.state_dict().items()}, held
    model, optimizer, loop = build(**options)
    for event in loop.run(STEPS):
        if event.step == last:
            break
    assert loop.step == last + 1
    assert same(seen[last], (dict(model.state_dict()), dict(optimizer.state[next(model.parameters())])))
    loop.run(STEPS - last - 1).solution()
    assert loop.step == STEPS
    if not options:
        assert same(truth.state_dict(), model.state_dict())
        assert same(whole.average, loop.average)


def test_a_run_that_is_broken_off_goes_on_with_what_was_not_seen(tmp_path):
    path = tmp_path / "run.safetensors"
    _, _, loop = build(tolerance=Absolute(float("inf")))
    running, seen = loop.run(STEPS, save=SaveEvery(100, path)), []
    for last in (10, 11, 17, STEPS):
        for event in running:
            seen.append(event.step)
            if event.step == last:
                break
        assert Checkpoint.load(path).step == loop.step == min(last + 1, STEPS)
    assert seen == list(range(STEPS))
    solution = running.solution()
    assert solution.step == STEPS
    assert sum(entry.rounds for entry in solution.log) == solution.rounds
    assert list(running) == []


def test_a_run_that_is_broken_off_is_one_with_the_plain_loop():
    truth, _, _ = build()
    optimizer = optim.Adam(truth.parameters(), 0.02)
    scheduler = lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.MultiStepLR(optimizer, [9])], [5]
    )
    plain(truth, optimizer, 11, schedulers=[scheduler])
    model, own, loop = build()
    for event in loop.run(STEPS):
        if event.step == 10:
            break
    assert same(truth.state_dict(), model.state_dict())
    assert same(optimizer.state_dict(), own.state_dict())


def test_the_file_is_written_every_so_many_steps_and_at_the_end(tmp_path):
    path = tmp_path / "deep" / "run.safetensors"
    _, _, loop = build(method=Sequential(1))
    written = []
    for event in loop.run(STEPS, save=SaveEvery(10, path)):
        written.append(Checkpoint.load(path).step if path.exists() else None)
    assert written[:10] == [None] * 10
    assert set(written[10:20]) == {10}
    assert Checkpoint.load(path).step == STEPS
    with pytest.raises(ValueError, match=r"SaveEvery\(0\) never comes"):
        SaveEvery(0, path)


@pytest.mark.parametrize("iterated", [True, False])
def test_an_interrupt_loses_nothing(tmp_path, iterated):
    path = tmp_path / "run.safetensors"
    interrupted = []

    def impatient(model, step):
        if step == 15 and not interrupted:
            interrupted.append(step)
            raise KeyboardInterrupt
        return loss(model, step)

    truth, _, loop = build()
    loop.run(STEPS).solution()
    model = Net()
    optimizer = optim.Adam(model.parameters(), 0.02)
    options = EXACT | {"ema": 0.9}
    truth = Net()
    plain(truth, optim.Adam(truth.parameters(), 0.02), STEPS)
    loop = Loop(model, optimizer, impatient, **options)
    running = loop.run(STEPS, save=SaveEvery(50, path))
    if iterated:
        with pytest.raises(KeyboardInterrupt):
            for _ in running:
                pass
    solution = running.solution()
    assert solution.status is Status.INTERRUPTED
    assert 0 < solution.step == loop.step == Checkpoint.load(path).step < STEPS
    model = Net()
    again = Loop(model, optim.Adam(model.parameters(), 0.02), impatient, **options)
    assert again.run(STEPS, resume=path).solution().status.done
    assert same(truth.state_dict(), model.state_dict())


def test_a_checkpoint_of_another_loop_is_refused(tmp_path):
    _, _, loop = build()
    checkpoint = loop.run(5).solution().checkpoint
    model = Net()
    other = Loop(model, optim.SGD(model.parameters(), 0.02), loss, **EXACT)
    with pytest.raises(ValueError, match=r"of another loop: of Adam .*SequentialLR.*; this one is SGD"):
        other.run(9, resume=checkpoint)
    _, _, seeded = build(seed=4)
    with pytest.raises(ValueError, match=r"seed 3; this one is .*seed 4"):
        seeded.run(9, resume=checkpoint)
    with pytest.raises(ValueError, match=r"is at step 5, after the end of this run at 3"):
        build()[2].run(3, resume=checkpoint)
    solution = solve(Process.from_step(lambda i, x: x / 2, 5), torch.ones(2), method=Picard(), window=Sliding(3))
    with pytest.raises(ValueError, match="is not one of an optimiser loop"):
        build()[2].run(9, resume=solution.checkpoint)


def test_shapes_of_another_loop_are_refused():
    def loop(size):
        params = [nn.Parameter(torch.ones(size))]
        return Loop(params, optim.SGD(params, 0.1), lambda params, step: params[0].sum(), gradients=OneByOne())

    with pytest.raises(ValueError, match=r"parameters of shapes \[\[3\]\], but the loop's are \[\[4\]\]"):
        loop(4).run(5, resume=loop(3).run(2).solution().checkpoint)


def test_a_run_can_be_made_longer():
    _, _, loop = build()
    checkpoint = loop.run(9).solution().checkpoint
    model, _, longer = build()
    longer.run(STEPS, resume=checkpoint).solution()
    truth, _, whole = build()
    whole.run(STEPS).solution()
    assert same(truth.state_dict(), model.state_dict())


def test_the_window_keeps_to_the_memory_it_is_given():
    def width(memory):
        _, _, loop = build(memory=memory, window=Sliding(16), ema=None)
        return max(entry.width for entry in loop.run(STEPS).solution().log)

    numel = sum(tensor.numel() for tensor in Net().parameters())
    step = numel * 4 * (2 * 3 + 16)
    assert width(None) == 16
    assert 4 <= width(6 * step) <= 6
    assert width(1) == 1


def test_no_steps_are_no_steps():
    model, _, loop = build()
    assert list(loop.run(0)) == []
    assert loop.run(0).solution().step == 0
    assert same(model.state_dict(), Net().state_dict())
