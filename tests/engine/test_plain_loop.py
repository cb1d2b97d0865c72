"""Steps in order are the user's own loop: the same calls, the same bits, and nothing lost."""

import pytest
import torch

from forerun import Auto, Process, Sequential, solve
from forerun.engine.baseline import iterate_plain_loop
from forerun.engine.methods.plain_walk import PlainWalk
from forerun.engine.numerics.in_place import ChangedInPlace
from forerun.engine.rows import Problem

START = torch.linspace(-1, 1, 6)


def relax(i, x):
    assert x.dim() == 1
    assert i.dim() == 0
    return x + 0.05 * torch.sin(3 * x + 0.1 * i)


class Cut(Process):
    """A step that is cut in two, on a state that is observed in part."""

    def __init__(self, length=300, hook=None):
        self.length, self.hook = length, hook

    def observe(self, state):
        return state["x"]

    def evaluate(self, steps, inputs):
        if self.hook is not None:
            self.hook(steps)
        return torch.cos(inputs) + 0.1 * steps.to(inputs).unsqueeze(-1)

    def advance(self, step, state, output):
        return {"x": 0.9 * state["x"] + 0.1 * output, "count": state["count"] + 1}


def begin():
    return {"x": START.clone(), "count": 0}


def test_a_plain_function_runs_as_in_its_users_loop():
    x = START
    states = [x]
    for i in range(200):
        x = relax(torch.tensor(i), x)
        states.append(x)
    solution = solve(Process.from_step(relax, 200, increment=True), START, method=Sequential(), path=True)
    assert torch.equal(solution.state, x)
    assert all(torch.equal(one, other) for one, other in zip(solution.path, states, strict=True))
    assert (solution.rounds, solution.evaluations) == (200, 200)


def test_a_step_in_two_parts_has_the_bits_of_the_plain_loop():
    process = Cut()
    *_, last = iterate_plain_loop(process, begin())
    solution = solve(process, begin(), method=Sequential())
    assert torch.equal(solution.state["x"], last["x"])
    assert solution.state["count"] == 300


def test_quick_steps_are_few_rounds_of_the_log():
    solution = solve(Cut(length=900), begin(), method=Sequential())
    assert len(solution.log) < 900 / 32
    assert sum(entry.accepted for entry in solution.log) == 900
    assert all(entry.in_order for entry in solution.log)


def test_as_many_steps_are_taken_between_callbacks_as_were_asked_for():
    steps = []
    solve(
        Cut(length=50), begin(), method=Sequential(steps_per_round=7), callback=lambda event: steps.append(event.step)
    )
    assert steps == [7, 14, 21, 28, 35, 42, 49, 50]


def test_a_callback_stops_the_plain_loop():
    stopped = solve(Cut(), begin(), method=Sequential(steps_per_round=10), callback=lambda event: event.step >= 40)
    assert stopped.step == 40
    resumed = solve(Cut(), begin(), method=Sequential(), resume=stopped.checkpoint)
    assert torch.equal(resumed.state["x"], solve(Cut(), begin(), method=Sequential()).state["x"])


@pytest.mark.parametrize("window", [Auto(), Auto(min_length=1000)], ids=["lead", "declined"])
@pytest.mark.parametrize("step", [0, 1, 40, 299])
def test_an_interrupt_of_the_plain_loop_loses_no_finished_step(step, window):
    def hook(steps):
        if int(steps[0]) == step:
            raise KeyboardInterrupt

    method = {} if window.min_length < 1000 else {"method": Sequential()}
    interrupted = solve(Cut(hook=hook), begin(), window=window, tolerance=1e-9, **method)
    assert interrupted.step == step or not method
    assert interrupted.step <= step
    resumed = solve(Cut(), begin(), resume=interrupted.checkpoint, tolerance=1e-9, **method)
    torch.testing.assert_close(resumed.state["x"], solve(Cut(), begin(), method=Sequential()).state["x"])
    assert resumed.state["count"] == 300


def test_an_error_of_the_plain_loop_carries_what_is_finished():
    def hook(steps):
        if int(steps[0]) == 25:
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost") as caught:
        solve(Cut(hook=hook), begin(), method=Sequential())
    assert caught.value.checkpoint.step == 25


def test_work_in_place_is_seen_at_any_step():
    def edit(i, x):
        return x.mul_(0.9) if int(i) == 37 else 0.9 * x

    with pytest.raises(ChangedInPlace, match="at step 37"):
        solve(Process.from_step(edit, 60), START.clone(), method=Sequential())


def test_a_step_that_is_not_finite_ends_the_plain_loop():
    process = Process.from_step(lambda i, x: torch.where(i == 20, x / 0, x * 0.9), 60)
    solution = solve(process, START, method=Sequential(), throw=False)
    assert solution.step == 20
    assert "not finite" in solution.status.value


def test_a_path_that_is_over_soon_is_walked_to_its_end():
    problem = Problem(Process.from_step(relax, 100), START)
    for elapsed, count in ((1e-4, 100), (10.0, 3)):
        walk = PlainWalk(problem, 0, START, steps=3, unless_over_in=0.02)
        walk.take_first()
        walk.take_others(lambda seconds=elapsed: seconds)
        assert walk.count == count
