"""Sparse look-ahead: some steps of a window are evaluated, the outputs of the others interpolated, and nothing else
changes: the answer, the promise of progress, what is accepted."""

from dataclasses import replace
from itertools import pairwise
from math import inf, nan

import pytest
import torch
from engine.problems import DOUBLE, PROBLEMS, same

from forerun import Absolute, Known, Local, Picard, Process, Secant, Sequential, Sliding, solve
from forerun.engine.methods import Anderson, Jacobi, Newton, QuasiNewton
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.rows import interpolate_rows
from forerun.engine.skeleton import Skeleton
from forerun.engine.testing import check_method, check_window
from forerun.engine.windows import EVERY_STEP, Density, Full, Within

BOLD = Density(min_dense=1, opening=0, roughest=inf, spare_width=0.0)  # sparse from the first round on, whatever comes
SPARSE = replace(BOLD, strides=(3,), min_dense=2)
THINNING = replace(BOLD, strides=(2, 4, 8), zone=4, settled=1.0, growth=1.0)
DENSITIES = [SPARSE, THINNING]


def smooth(length=60, width=4):
    """A relaxation along a path whose outputs change slowly."""

    def step(i, x):
        return x + 0.1 * torch.sin(x + 0.05 * i)

    return Process.from_step(step, length, increment=True), torch.linspace(-1, 1, width, dtype=DOUBLE)


def entry(start, stop, accepted, residuals, sparse=None):
    return Round(start, stop, accepted, residuals, 1e-3, 1, 0, RoundTiming(), sparse=sparse)


class Evaluated(Local):
    """A backend that remembers which steps were evaluated, round by round."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "calls", [])

    def evaluate(self, call, steps, inputs, overhead):
        self.calls.append(steps.tolist())
        return super().evaluate(call, steps, inputs, overhead)


# The value: which steps.


def test_a_skeleton_lists_its_slots_and_is_cut_to_steps():
    skeleton = Skeleton(10, 30, 13, (15, 18, 24))
    assert skeleton.list_slots() == [0, 1, 2, 5, 8, 14]
    assert (skeleton.dense_count, skeleton.is_dense) == (3, False)
    assert skeleton.select_steps(12, 20) == Skeleton(12, 20, 13, (15, 18))
    assert skeleton.select_steps(14, 40) == Skeleton(14, 30, 14, (15, 18, 24))
    assert skeleton.select_steps(40, 50) == Skeleton(40, 40, 40)
    assert skeleton.list_common_slots(Skeleton(0, 20, 12, (15, 16, 18))) == [0, 1, 5, 8]
    assert Skeleton.all_steps(3, 7).is_dense


def test_rows_are_interpolated_between_the_slots_and_held_beyond():
    rows = torch.tensor([[1.0], [4.0], [0.0]])
    spread = interpolate_rows(rows, [1, 4, 6], 9)
    assert spread.flatten().tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 2.0, 0.0, 0.0, 0.0]


def test_an_evaluated_row_stays_whatever_stands_beside_it():
    rows = torch.tensor([[1.0], [torch.inf], [2.0], [torch.nan]])
    spread = interpolate_rows(rows, [0, 2, 3, 5], 6).flatten()
    assert spread[[0, 2, 3]].tolist() == [1.0, torch.inf, 2.0]
    assert spread[5].isnan()


# The rule: which steps next.


def test_windows_thin_out_by_default():
    assert Sliding(8).choose_density([], 100) == Full().choose_density([], 100) == Density()
    assert EVERY_STEP.choose_steps([], 0, 100, 100) is None
    assert Density().choose_steps([], 0, 100, 100) is not None


def test_zones_thin_out_and_the_end_of_the_path_is_evaluated():
    density = replace(BOLD, strides=(2, 4), zone=6, min_dense=3)
    assert density.choose_steps([], 10, 30, 30) == Skeleton(10, 30, 13, (14, 16, 18, 20, 24, 28, 29))
    assert density.choose_steps([], 10, 29, 30) == Skeleton(10, 29, 13, (14, 16, 18, 20, 24, 28))


def test_a_short_window_is_dense():
    assert SPARSE.choose_steps([], 10, 12, 30) is None


def test_the_dense_part_reaches_as_far_as_the_last_round_settled():
    density = replace(BOLD, strides=(4,), min_dense=2, settled=3.0, growth=2.0)
    last = entry(0, 40, 5, [0.0] * 5 + [2e-3] * 20 + [4e-3] * 15, Skeleton(0, 40, 8, (8, 12)))
    assert density.choose_steps([last], 5, 45, 100).dense_stop == 25
    unsettled = replace(last, residuals=[0.0] * 5 + [torch.nan] * 35)
    assert density.choose_steps([unsettled], 5, 45, 100).dense_stop == 5 + 2 * 5
    receding = replace(unsettled, accepted=1)
    assert density.choose_steps([receding], 1, 45, 100).dense_stop == 8


def test_a_log_that_the_check_went_back_from_tells_nothing():
    last = entry(20, 60, 10, [0.0] * 40)
    assert SPARSE.choose_steps([last], 5, 45, 100).dense_stop == 7


def test_until_interpolation_has_shown_its_worth_strides_are_short_and_the_dense_part_is_long():
    density = Density((4, 8), zone=16, min_dense=2, opening=6)
    assert density.choose_steps([], 0, 60, 80) == Skeleton(0, 60, 8, (*range(8, 24, 2), *range(24, 60, 4)))
    sparse = Skeleton(0, 60, 8, (12, 16))
    log = [entry(0, 60, 4, [0.0] * 60, sparse), entry(4, 60, 2, [0.0] * 2 + [1.0] * 54, Skeleton(4, 60, 8, (12, 16)))]
    assert density.choose_steps(log, 6, 60, 80).dense_stop == 9


def test_every_step_is_evaluated_where_an_interpolated_output_was_far_off():
    before = entry(0, 60, 4, [0.0] * 4 + [1e-2] * 56, Skeleton(0, 60, 8, (12, 16)))
    for jump, is_dense in ((0.5e-3, False), (2e-3, True), (inf, True), (nan, True)):
        residuals = [0.0, 0.0, 0.0, 0.0, 1e-4, 1e-4 + jump] + [1e-2] * 50
        log = [before, entry(4, 60, 4, residuals, Skeleton(4, 60, 12, (16, 20)))]
        assert (Density().choose_steps(log, 8, 60, 60) is None) == is_dense
        assert Density(roughest=inf).choose_steps(log, 8, 60, 60) is not None or jump is nan


def test_a_window_that_is_nearly_accepted_every_round_is_dense():
    log = [entry(start, start + 60, 40, [0.0] * 60) for start in (0, 40, 80)]
    assert Density().choose_steps(log, 120, 180, 1000) is None


@pytest.mark.parametrize("make", [lambda: Density(()), lambda: Density((0,)), lambda: Density((3,), zone=0)])
def test_a_density_without_steps_is_refused(make):
    with pytest.raises(ValueError, match=r"Density\(.*\) .* pass"):
        make()


def test_windows_hand_their_density_on():
    assert Within(Sliding(9, SPARSE), 4).choose_density([], 10) is SPARSE
    check_window(Sliding(9, SPARSE))
    check_window(Full(THINNING))


# The run.


@pytest.mark.parametrize("density", DENSITIES, ids=str)
@pytest.mark.parametrize("method", [Picard(), Secant()], ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_answer_is_the_sequential_one(problem, method, density):
    process, state = PROBLEMS[problem]()
    truth = solve(process, state, method=Sequential(), check=False)
    for check in (False, True):
        solution = solve(
            process, state, method=method, window=Sliding(12, density), tolerance=Absolute(1e-11), check=check
        )
        same(solution.state, truth.state)


@pytest.mark.parametrize("method", [Picard(), Secant()], ids=str)
def test_methods_keep_their_contract_on_a_skeleton(method):
    check_method(method)


@pytest.mark.parametrize("density", DENSITIES, ids=str)
@pytest.mark.parametrize("check", [False, True])
def test_only_evaluated_steps_are_accepted_and_the_first_always_is(density, check):
    process, state = smooth()
    backend = Evaluated()
    solution = solve(process, state, window=Sliding(30, density), tolerance=1e-6, check=check, backend=backend)
    sparse = [entry for entry in solution.log if entry.sparse]
    assert sparse
    for entry in sparse:
        evaluated = [entry.start + slot for slot in entry.sparse.list_slots()]
        assert evaluated in backend.calls
        assert evaluated[: entry.accepted] == list(range(entry.start, entry.start + entry.accepted))
        assert entry.evaluations == len(evaluated) < entry.width
    assert solution.evaluations < sum(entry.width for entry in solution.log)


def test_a_step_once_evaluated_is_evaluated_until_it_is_accepted():
    process, state = smooth()
    log = solve(process, state, window=Sliding(40, THINNING), tolerance=1e-6, check=False).log
    for before, after in pairwise(log):
        if before.sparse and after.sparse:
            steps = {before.start + slot for slot in before.sparse.list_slots()}
            waiting = {step for step in steps if step >= after.start}
            assert waiting <= {after.start + slot for slot in after.sparse.list_slots()}


def test_methods_that_need_every_step_stay_dense():
    process, state = smooth()
    for method in (Newton(), QuasiNewton(), Anderson(), Jacobi()):
        assert method.needs_every_step
        log = solve(process, state, method=method, window=Sliding(20, SPARSE), check=False).log
        assert all(entry.sparse is None for entry in log)


def test_whole_numbers_are_not_interpolated():
    process, state = PROBLEMS["whole numbers"]()
    log = solve(process, state, window=Sliding(12, SPARSE), check=False).log
    assert all(entry.sparse is None for entry in log)


# What might go wrong: every answer is held against the plain loop.


def kinked(length=80):
    """A step between two of the skeleton does something else than its neighbours."""

    def step(i, x):
        kink = torch.where(i % 16 == 5, 0.5 * x.abs() + 0.3, 0.0 * x)
        return x + 0.05 * torch.sin(x + 0.05 * i) + kink

    return Process.from_step(step, length, increment=True), torch.linspace(-1, 1, 4, dtype=DOUBLE)


def spiked(length=80):
    """The noise of a single step is a thousand times larger than that of all others."""
    noise = 1e-3 * torch.randn(length, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    noise[41] *= 1000

    def step(i, x):
        return -0.05 * torch.tanh(x + noise[i]) + noise[i]

    return Process.from_step(lambda i, x: x + step(i, x), length, batched=False, increment=True), torch.linspace(
        -1, 1, 4, dtype=DOUBLE
    )


def tokens(length=80):
    """Each output is one of a few values that its neighbours say nothing of."""

    def step(i, x):
        return torch.remainder(torch.floor(7 * x + 13 * i), 11) + 0.25

    return Process.from_step(step, length), torch.linspace(0, 3, 4, dtype=DOUBLE)


def unbounded(length=80):
    """Guesses far off meet an output that is not finite, at every fifth step."""

    def step(i, x):
        return x + 0.05 * torch.sin(x + 0.05 * i) + torch.where((i % 5 == 0) & (x.abs() > 2), torch.inf, 0.0)

    return Process.from_step(step, length, increment=False), torch.linspace(-0.1, 0.1, 4, dtype=DOUBLE)


HOSTILE = {"kinked": kinked, "spiked": spiked, "tokens": tokens, "unbounded": unbounded}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("density", [BOLD, THINNING, Density()], ids=["bold", "thinning", "default"])
@pytest.mark.parametrize("problem", HOSTILE)
def test_what_a_skeleton_cannot_see_costs_rounds_and_no_accuracy(problem, density, check):
    process, state = HOSTILE[problem]()
    truth = solve(process, state, method=Sequential(), check=False)
    solution = solve(process, state, window=Full(density), tolerance=Absolute(1e-9), check=check)
    assert solution.status.done
    same(solution.state, truth.state, atol=1e-7)
    assert len(solution.log) <= process.length + 1 or check


def test_tokens_are_evaluated_one_and_all_once_interpolation_has_shown_its_worth():
    process, state = tokens()
    log = solve(process, state, window=Full(Density(opening=4, min_dense=4)), check=False).log
    sparse = [entry.sparse is not None for entry in log]
    assert any(sparse[:6])
    assert sum(sparse) < len(sparse) / 2


def test_an_output_that_is_not_finite_at_the_skeleton_stops_nothing_before_it():
    class Broken(Process):
        length = 60

        def evaluate(self, steps, inputs):
            outputs = torch.tanh(0.1 * inputs)
            return torch.where((steps == 48).unsqueeze(-1) & (inputs.abs() < 5), torch.nan, outputs)

        def advance(self, step, state, output):
            return state + 0.01 * output

    solution = solve(Broken(), torch.ones(3, dtype=DOUBLE), window=Full(BOLD), check=False, throw=False)
    assert solution.status.name == "NONFINITE"
    assert solution.step == 48


def test_a_run_that_is_resumed_in_the_middle_ends_where_the_other_did():
    process, state = smooth()
    options = {"window": Sliding(40, SPARSE), "tolerance": Absolute(1e-9)}
    whole = solve(process, state, **options)
    stopped = solve(process, state, callback=lambda event: event.step > 15, **options)
    assert 15 < stopped.step < process.length
    resumed = solve(process, state, resume=stopped.checkpoint, **options)
    same(resumed.state, whole.state, atol=1e-8)


@pytest.mark.parametrize("backend", [Local(max_batch=5), Local(max_batch=1), Local(pad=(4, 8, 16, 32))], ids=repr)
def test_slices_and_padding_change_nothing(backend):
    process, state = smooth()
    options = {"window": Sliding(40, SPARSE), "tolerance": 1e-6}
    plain, other = solve(process, state, **options), solve(process, state, backend=backend, **options)
    assert (plain.rounds, plain.evaluations) == (other.rounds, other.evaluations)
    same(plain.state, other.state, atol=1e-12)


def test_a_warm_start_and_a_path_are_kept():
    process, state = smooth()
    first = solve(process, state, window=Sliding(40, SPARSE), tolerance=Absolute(1e-9), path=True)
    warm = solve(process, state, window=Full(SPARSE), tolerance=1e-6, guess=Known(torch.stack(list(first.states))[:-1]))
    assert len(first.states) == process.length + 1
    assert warm.rounds <= first.rounds
    same(warm.state, first.state, atol=1e-5)
