"""What a solution tells."""

import pytest
import torch

from forerun import Absolute, Checkpoint, NotConverged, Process, Sequential, Sliding, Solution, Status, solve
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.solution import RunTiming


def wave(steps, inputs):
    return torch.sin(inputs) + 0.1 * steps.to(inputs).reshape(-1, 1, 1)


PROCESS = Process.from_step(wave, 30, batched=True, batch_dims=1)
STATE = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)


def solution(status=Status.CHECKED, step=4, deviation=None, notes=()):
    return Solution(
        state=torch.ones(2),
        length=4,
        status=status,
        log=[
            Round(0, 1, 1, (0.0,), 1e-3, 1, 1, RoundTiming(0.25, 0.5, 0.125)),
            Round(1, 4, 3, (0.0, 0.1, 0.2), 1e-3, 1, 3, RoundTiming(0.25, 0.0, 0.0)),
        ],
        deviation=deviation,
        checkpoint=Checkpoint(step, 4, torch.ones(2), rounds=2, evaluations=6),
        seconds=RunTiming(evaluate=0.5, advance=0.25, communicate=0.5, overhead=0.125),
        notes=notes,
    )


def test_figures():
    found = solution(deviation=torch.tensor([1e-4, 3e-4]))
    assert (found.step, found.rounds, found.evaluations, found.inflation) == (4, 2, 6, 1.5)
    assert found.deviation_estimate == pytest.approx(3e-4)
    assert found.residuals == [{0: 0.0}, {1: 0.0, 2: 0.1, 3: 0.2}]
    assert found.seconds.total == 1.375


def test_nothing_estimated_and_no_samples():
    assert solution().deviation_estimate is None
    assert solution(deviation=torch.zeros(0)).deviation_estimate == 0.0
    assert solution(step=0).inflation == 6


def test_in_words():
    text = str(solution(deviation=torch.tensor([1e-4, 3e-4]), notes=("Went back once.",)))
    assert text.splitlines() == [
        "4 of 4 steps in 2 rounds, 6 evaluations (inflation 1.50)",
        "deviation 0.0003 (estimate)",
        "1.38 s: evaluate 0.5, advance 0.25, communicate 0.5, overhead 0.125",
        Status.CHECKED.value,
        "Went back once.",
    ]
    assert "deviation not estimated" in str(solution())
    assert str(solution()) in repr(solution())


def test_every_status_is_a_sentence_and_some_have_the_whole_path():
    assert all(status.value[0].isupper() and status.value.endswith((".", ")")) for status in Status)
    unfinished = {Status.RUNNING, Status.NONFINITE, Status.STOPPED, Status.INTERRUPTED}
    assert {status for status in Status if not status.done} == unfinished


def test_not_converged_says_where():
    error = NotConverged(solution(Status.NONFINITE, step=3))
    assert "(step 3 of 4)" in str(error)
    assert error.solution.status is Status.NONFINITE


@pytest.mark.parametrize("check", [True, False])
def test_the_parts_of_a_run_add_up(check):
    found = solve(PROCESS, STATE, window=Sliding(8), tolerance=Absolute(1e-6), check=check)
    assert found.rounds == sum(entry.rounds for entry in found.log)
    assert found.evaluations == sum(entry.evaluations for entry in found.log)
    assert found.evaluations == sum(entry.width for entry in found.log)
    assert found.inflation == found.evaluations / 30
    assert found.seconds.evaluate == pytest.approx(sum(entry.timing.evaluate for entry in found.log))
    parts = (found.seconds.evaluate, found.seconds.advance, found.seconds.communicate, found.seconds.overhead)
    assert min(parts) >= 0
    assert found.seconds.total == pytest.approx(sum(parts))
    assert [entry.start for entry in found.log[1:]] == [entry.start + entry.accepted for entry in found.log[:-1]]
    assert (found.deviation is None) is (not check)
    if check:
        assert found.deviation.shape == (3,)


def test_every_round_is_told_with_its_residuals():
    found = solve(PROCESS, STATE, window=Sliding(8), tolerance=Absolute(1e-6))
    for entry, residuals in zip(found.log, found.residuals, strict=True):
        assert list(residuals) == list(range(entry.start, entry.stop))
        assert residuals[entry.start] == 0.0
        accepted = [size for step, size in residuals.items() if step < entry.start + entry.accepted]
        assert all(size <= entry.threshold for size in accepted)


def test_the_sequential_run_wastes_nothing():
    found = solve(PROCESS, STATE, method=Sequential())
    assert (found.rounds, found.evaluations, found.inflation, found.deviation_estimate) == (30, 30, 1.0, 0.0)
    assert found.status is Status.SEQUENTIAL
