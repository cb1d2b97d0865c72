"""The check: what it estimates, when it goes back, and what it says about it."""

import re
from dataclasses import dataclass, replace

import pytest
import torch
from engine.problems import lorenz

from forerun import (
    Absolute,
    Full,
    Known,
    Newton,
    Picard,
    Process,
    QuasiNewton,
    Relative,
    Secant,
    Sequential,
    Sliding,
    Status,
    solve,
)
from forerun.engine.check import Check, DeviationEstimator, deviation_estimator, largest_size
from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import FULL_MATRIX_WIDTH, LOW_RANK_WIDTH, estimate_jacobian
from forerun.engine.methods import Jacobi, StepEvaluations
from forerun.engine.rows import Problem
from forerun.engine.tolerance import rms
from forerun.engine.windows import Density, Window

DOUBLE = torch.float64


def estimate(evaluations, start, count, *, base, before) -> Jacobian | None:
    """The Jacobians of some steps from their evaluations, the newest first."""
    changes = EvaluationChanges.from_evaluations(evaluations, start, count)
    return None if changes is None else estimate_jacobian(changes, base=base, before=before)


def network(width, length=60, batch=4):
    """A contractive recurrent network with inputs."""
    generator = torch.Generator().manual_seed(2)
    weight = 0.9 * torch.randn(width, width, generator=generator, dtype=DOUBLE) / width**0.5
    drive = torch.randn(length, 1, width, generator=generator, dtype=DOUBLE)
    state = torch.randn(batch, width, generator=generator, dtype=DOUBLE)

    def cell(steps, hidden):
        return torch.tanh(hidden @ weight + drive[steps])

    return Process.from_step(cell, length, batched=True, batch_dims=1), state


def deviation(found, truth):
    return rms(found.state - truth.state)


@pytest.mark.parametrize("method", [Picard(), Secant(), Jacobi()], ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("width", [8, 40])  # with full matrices, and with a few directions
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
def test_the_estimate_of_a_contraction_is_right_to_a_factor_of_six(size, width, method):
    process, state = network(width)
    truth = solve(process, state, method=Sequential())
    report_only = Check(share=1.0, retries=0)
    found = solve(process, state, method=method, window=Sliding(20), tolerance=Absolute(size), check=report_only)
    true = deviation(found, truth).max()
    assert true > 0
    assert true / 6 < found.deviation_estimate < 6 * true


def test_the_slopes_of_a_method_are_not_taken_for_the_jacobian():
    process, state = lorenz(300)  # of which a diagonal with an error of its own says little
    truth = solve(process, state, method=Sequential())
    report_only = Check(share=1.0, retries=0)
    found = solve(process, state, method=QuasiNewton(), window=Full(), tolerance=Absolute(1e-6), check=report_only)
    assert deviation(found, truth).max() > 1e-5
    assert found.status is Status.UNCERTAIN


@pytest.mark.parametrize("length", [200, 400])
def test_a_wrong_run_that_residuals_call_converged_is_caught(length):
    process, state = lorenz(length)
    truth = solve(process, state, method=Sequential(), path=True)
    options = {"window": Sliding(16), "tolerance": Absolute(1e-4)}
    plain = solve(process, state, check=False, **options)
    assert plain.status is Status.UNCHECKED
    assert all(size <= 1e-4 for entry in plain.log for size in entry.residuals[: entry.accepted])
    assert deviation(plain, truth).max() > 5e-4

    checked = solve(process, state, path=True, **options)
    assert checked.status in {Status.CHECKED, Status.SEQUENTIAL}
    assert any("went back to step" in note for note in checked.notes)
    assert deviation(checked, truth).max() < 3e-4
    # the path and the figures of a run that went back
    assert len(checked.path) == length + 1
    assert max(float(rms(a - b).max()) for a, b in zip(checked.path, truth.path, strict=True)) < 3e-4
    assert checked.rounds == sum(entry.rounds for entry in checked.log)
    assert any(after.start < before.start for before, after in zip(checked.log, checked.log[1:], strict=False))


def test_without_retries_the_deviation_is_reported_as_it_is():
    process, state = lorenz(300)
    truth = solve(process, state, method=Sequential())
    report_only = Check(share=1.0, retries=0)
    found = solve(process, state, window=Sliding(16), tolerance=Absolute(1e-4), check=report_only)
    assert found.status is Status.UNCERTAIN
    (reason,) = found.notes
    assert "asked for" in reason
    assert found.deviation_estimate > 1e-4
    assert 0.2 < found.deviation_estimate / float(deviation(found, truth).max()) < 5


def test_chaos_in_single_precision_ends_in_the_sequential_run_bit_for_bit():
    process, state = lorenz(2000, torch.float32)
    truth = solve(process, state, method=Sequential())
    found = solve(process, state, window=Sliding(64), tolerance=Absolute(1e-4))
    assert found.status is Status.SEQUENTIAL
    assert torch.equal(found.state, truth.state)
    assert "goes on step by step, as no tolerance that rounding allows would keep it" in found.notes[-1]
    assert found.deviation_estimate == 0.0


def test_each_sample_has_an_estimate_of_its_own():
    process, state = network(8)
    truth = solve(process, state, method=Sequential())
    report_only = Check(share=1.0, retries=0)
    found = solve(process, state, method=Picard(), window=Full(), tolerance=Absolute(1e-2), check=report_only)
    true = deviation(found, truth)
    assert found.deviation.shape == true.shape == (4,)
    assert ((true / 6 < found.deviation) & (found.deviation < 20 * true)).all()


def test_the_share_of_a_step_bounds_its_residual():
    process, state = network(8)
    for share in (0.1, 0.5):
        found = solve(process, state, window=Sliding(8), tolerance=Absolute(1e-3), check=Check(share=share))
        assert {entry.threshold for entry in found.log} == {share * 1e-3}


@pytest.mark.parametrize("shift", [1e-3, 1.0])
def test_a_warm_start_off_the_path_does_not_fool_the_check(shift):
    process, state = lorenz(120)
    truth = solve(process, state, method=Sequential(), path=True)
    inputs = torch.stack(truth.path[:-1])
    inputs[1:] += shift * torch.linspace(0, 1, 119, dtype=DOUBLE).reshape(-1, 1, 1)
    found = solve(process, state, guess=Known(inputs), window=Full(), tolerance=Absolute(1e-4))
    assert found.status.done
    assert deviation(found, truth).max() < 3e-4


def test_what_drifted_before_a_checkpoint_is_reported_and_ends():
    process = Process.from_step(lambda i, x: x + 0.1 * torch.sin(x + i), 30, increment=True)
    state = torch.linspace(-1, 1, 4, dtype=DOUBLE)
    options = {"window": Sliding(8), "tolerance": Absolute(1e-5)}
    part = solve(process, state, callback=lambda event: event.step >= 20, **options)
    # without the path that it kept, whose audit would find that nothing has drifted
    drifted = replace(part.checkpoint, exact=False, shadow=part.state + 1e-2, check_memory=None)
    for method in (Secant(), Newton(), Sequential()):
        found = solve(process, state, method=method, resume=drifted, **options)
        assert found.status is Status.UNCERTAIN
        assert 1e-3 < found.deviation_estimate < 1e-1
    end = solve(process, state, **options).checkpoint
    at_end = solve(
        process, state, resume=replace(end, exact=False, shadow=end.state + 1e-2, check_memory=None), **options
    )
    assert at_end.status is Status.UNCERTAIN
    assert not at_end.log


def test_going_back_with_known_inputs_or_a_relative_tolerance_arrives_too():
    process, state = lorenz(250)
    truth = solve(process, state, method=Sequential())
    garbage = Known(torch.zeros(250, 2, 3, dtype=DOUBLE) + state)
    found = solve(process, state, guess=garbage, window=Sliding(16), tolerance=Relative(1e-5))
    assert found.status.done
    assert float((rms(found.state - truth.state) / rms(truth.state)).max()) < 3e-5


def test_the_largest_size_is_never_less_than_it_looks():
    assert largest_size(torch.tensor([1.0, 3.0])) == 3.0
    assert largest_size(torch.tensor([1.0, torch.nan])) == float("inf")
    assert largest_size(torch.zeros(0)) == 0.0


def evaluations(matrix, count, width, generator, start=0):
    """Some steps, evaluated `count` times at random inputs: the newest first."""
    found = []
    for _ in range(count):
        inputs = torch.randn(5, 2, width, generator=generator, dtype=DOUBLE)
        found.append(StepEvaluations(start, inputs, inputs @ matrix.T))
    return found


@pytest.mark.parametrize("width", [3, FULL_MATRIX_WIDTH, FULL_MATRIX_WIDTH + 1, LOW_RANK_WIDTH + 1])
def test_a_jacobian_explains_the_newest_difference(width):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(width, width, generator=generator, dtype=DOUBLE)
    matrix = (
        torch.eye(width, dtype=DOUBLE) * 0.7 if width > LOW_RANK_WIDTH else matrix
    )  # one scalar is all that is kept there
    seen = evaluations(matrix, 3, width, generator)
    found = estimate(seen, 0, 5, base=None, before=None)
    moved, changed = (getattr(seen[0], part) - getattr(seen[1], part) for part in ("inputs", "outputs"))
    if width <= FULL_MATRIX_WIDTH:  # carried from step to step: exact for the last of them
        moved, changed, found = moved[-1:], changed[-1:], found.select_step(len(seen[0]) - 1)
    torch.testing.assert_close(found.multiply_moves(moved), changed)


def test_the_matrix_of_a_linear_step_is_found_along_the_path():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 3, generator=generator, dtype=DOUBLE)
    before = None
    for start in range(0, 100, 5):
        found = estimate(evaluations(matrix, 5, 3, generator, start), start, 5, base=None, before=before)
        before = found.select_step(len(found.base) - 1)
    torch.testing.assert_close(before.base[0, 0], matrix, rtol=1e-3, atol=1e-3)


def test_steps_evaluated_once_show_nothing():
    generator = torch.Generator().manual_seed(0)
    seen = evaluations(torch.eye(3, dtype=DOUBLE), 1, 3, generator)
    assert estimate(seen, 0, 5, base=None, before=None) is None


@pytest.mark.parametrize(
    "window", [Sliding(8), Sliding(40), Sliding(24, density=Density((3, 6), min_dense=2, opening=0))], ids=str
)
@pytest.mark.parametrize("method", [Picard(), Secant()], ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("width", [8, 40])
def test_rounds_that_wait_together_show_what_they_show_one_by_one(window, method, width, monkeypatch):
    process, state = network(width)
    runs = []
    for elements in (deviation_estimator.WAITING_ELEMENTS, 0):
        monkeypatch.setattr(deviation_estimator, "WAITING_ELEMENTS", elements)
        runs.append(solve(process, state, method=method, window=window, tolerance=1e-3, check=Check(retries=0)))
    together, one_by_one = runs
    assert together.rounds > 3
    assert together.deviation.max() > 0
    torch.testing.assert_close(together.deviation, one_by_one.deviation, rtol=1e-6, atol=1e-16)


def test_going_back_takes_the_last_restart_point_that_is_good_enough():
    process, state = lorenz(10)
    problem, tolerance = Problem(process, state), Absolute(1e-3)
    estimator = DeviationEstimator.from_state(problem, 0, state)
    restart_points = [
        replace(estimator.restart_points[0], step=step, shadow=state + drift)
        for step, drift in ((3, 1e-9), (6, 1e-5), (9, 1e-2))
    ]
    estimator = replace(estimator, restart_points=(estimator.restart_points[0], *restart_points))
    # sound where drift * excess <= requested^2 / 4
    for excess, step in ((1e-3, 6), (1.0, 3), (1e6, 0), (float("inf"), 0)):
        assert estimator.go_back(tolerance, excess, 1e-3).restart_points[-1].step == step


@dataclass(frozen=True)
class Declining(Window):
    """Wide up to a step, then sequential."""

    step: int

    def width(self, log, length):
        return 0 if log and log[-1].start + log[-1].accepted >= self.step else 8

    def note(self, log, length):
        return "no gain"


def steep(length):
    """States that grow in the first 15 steps and shrink from then on."""

    def step(i, x):
        return torch.where(i < 15, 1.4, 0.8) * torch.sin(x) + 0.1 * torch.cos(3 * x.roll(1))

    return Process.from_step(step, length), torch.linspace(-1, 1, 64, dtype=DOUBLE)


def test_a_drift_grows_in_steps_in_order_as_sampled_steps_show_and_never_shrinks():
    process, state = steep(100)
    truth = solve(process, state, method=Sequential())
    found = solve(process, state, window=Declining(20), tolerance=Absolute(1e-3))
    assert found.status is Status.CHECKED
    off = float(rms(found.state - truth.state))
    assert off / 3 < found.deviation_estimate < 3 * off
    assert found.notes[0] == "no gain"
    assert re.search(r"drift of 9e-05 up to step 20 is carried on", found.notes[1])
