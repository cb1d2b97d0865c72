"""A run in several parts: segments, parts joined, leaving out what failed; and the plain loop."""

from dataclasses import replace

import pytest
import torch
from engine.problems import PROBLEMS, same

from forerun import Checkpoint, Process, Sequential, SolveOptions, Status, solve
from forerun.engine.baseline import iterate_plain_loop, run_plain_loop
from forerun.engine.parts import (
    PathSegment,
    SegmentedRun,
    add_seconds,
    join_solutions,
    repeat_until_finite,
    shift_rounds,
)
from forerun.engine.run import SolveRun
from forerun.engine.solution import RunTiming
from forerun.engine.solve import run_to_end

TIGHT = SolveOptions(window=6, tolerance=1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_plain_loop_is_the_sequential_run(name):
    process, state = PROBLEMS[name]()
    in_order = solve(process, state, method=Sequential(), path=True)
    same(run_plain_loop(process, state), in_order.state)
    for step_state, expected in zip(iterate_plain_loop(process, state), in_order.path[1:], strict=True):
        same(step_state, expected)


def shrink(length):
    return Process.from_step(lambda i, x: torch.sin(x) + 0.1, length)


def test_a_run_of_segments_is_the_run_of_each_after_the_other():
    first, second, state = shrink(10), shrink(25), torch.linspace(0, 2, 5, dtype=torch.float64)
    half = run_plain_loop(first, state)
    expected = run_plain_loop(shrink(15), 2 * half)
    places = []

    def next_segment(place):
        places.append(place.step)
        return PathSegment(first, place.state) if place.step < 10 else PathSegment(second, 2 * place.state)

    run = SegmentedRun(next_segment, Checkpoint(0, 25, state), TIGHT.settled())
    events = []
    with run.guarded():
        while run.goes_on():
            events.append(run.take_round())
    solution = run.solution()
    assert places == [0, 10]
    same(solution.state, expected, atol=1e-8)
    assert (solution.length, solution.step, solution.status) == (25, 25, Status.CHECKED)
    assert len(solution.log) == len(events) == solution.rounds
    assert {event.length for event in events} == {event.checkpoint().length for event in events} == {25}


def test_an_interrupt_ends_a_run_of_segments_and_keeps_what_is_accepted():
    state = torch.ones(3)
    run = SegmentedRun(lambda place: PathSegment(shrink(12), place.state), Checkpoint(0, 12, state), TIGHT.settled())
    with run.guarded():
        run.take_round()
        raise KeyboardInterrupt
    assert run.solution().status is Status.INTERRUPTED
    assert run.checkpoint().step >= 1
    with pytest.raises(ZeroDivisionError) as caught, run.guarded():
        1 / 0  # noqa: B018
    assert caught.value.checkpoint.step == run.checkpoint().step


def test_what_is_left_is_taken_in_order_and_the_path_is_whole():
    process, state = PROBLEMS["momentum"]()
    settings = replace(TIGHT, callback=lambda event: event.step >= 5).settled()
    stopped = run_to_end(SolveRun(process, state, settings, path=True), settings)
    assert stopped.status is Status.STOPPED
    rest = solve(process, state, method=Sequential(), resume=stopped.checkpoint, path=True)
    whole = join_solutions([stopped, rest], notes=["It was slow."])
    truth = solve(process, state, method=Sequential(), path=True)
    assert whole.status.done
    assert whole.notes[0] == "It was slow."
    same(whole.state, truth.state, atol=1e-6)
    assert len(whole.path) == process.length + 1
    assert whole.log[: len(stopped.log)] == list(stopped.log)
    assert sum(entry.accepted for entry in whole.log) == process.length
    assert whole.seconds.total >= stopped.seconds.total


def test_a_run_is_repeated_without_what_was_not_finite():
    left = [1.0, float("inf"), 2.0, float("nan")]

    def solve_once():
        return solve(shrink(4), torch.tensor(left), throw=False)

    def leave_out(solution):
        bad = [value for value in left if value not in (1.0, 2.0)]
        left.remove(bad[0])
        return bool(left)

    assert repeat_until_finite(solve_once, leave_out).status.done
    assert left == [1.0, 2.0]
    stuck = repeat_until_finite(lambda: solve(shrink(4), torch.tensor([torch.nan]), throw=False), lambda _: False)
    assert stuck.status is Status.NONFINITE


def test_parts_are_added_up():
    assert add_seconds([RunTiming(1, 2, 3, 4), RunTiming(0.5, 0, 0, 1)]) == RunTiming(1.5, 2, 3, 5)
    solution = solve(shrink(6), torch.ones(2), window=2)
    shifted = shift_rounds(solution.log, 3)
    assert [entry.start - 3 for entry in shifted] == [entry.start for entry in solution.log]
    twice = join_solutions([solution, solution], notes=["Twice."])
    assert len(twice.log) == 2 * len(solution.log)
    assert twice.states is None
    assert twice.notes == ("Twice.", *solution.notes)
