"""The window: Auto in runs whose rounds cost what a model says, against every fixed width and the ordinary loop."""

import math
import random
from dataclasses import replace
from functools import cache

import pytest
import torch

from forerun.diffusion.denoising import Denoising
from forerun.engine.backends.local import Local
from forerun.engine.guesses import Copy
from forerun.engine.methods import Secant
from forerun.engine.process import Process
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.solve import solve
from forerun.engine.windows import Auto, Full, Sliding, Within
from forerun.engine.windows.round_cost import RoundCost
from forerun.engine.windows.round_ledger import RoundLedger
from forerun.engine.windows.round_progress import RoundProgress
from forerun.worlds.digits import load_digits_denoiser

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256)

COSTS = {  # of a round by its width, in single steps
    "flat": lambda width: 1.0,
    "nearly flat": lambda width: 1 + 0.02 * (width - 1),
    "a tenth": lambda width: 1 + 0.1 * (width - 1),
    "a half": lambda width: 1 + 0.5 * (width - 1),
    "linear": lambda width: float(width),
    "roofline": lambda width: max(1.0, width / 32),
}


def chain(length):
    """Chaotic: a round settles one step, whatever its width."""
    state = torch.full((3,), 0.37, dtype=torch.float64)
    return Process.from_step(lambda i, x: 4 * torch.sin(x) + 0.2 * torch.sin(1.0 * i), length), state


def easy(length):
    """Nearly settled at once."""
    state = torch.linspace(0.1, 3, 7, dtype=torch.float64)
    return Process.from_step(lambda i, x: x + 1e-3 * torch.sin(x + 0.01 * i), length, increment=True), state


def turning(length):
    """Settled at once in its first half, chaotic in its second."""

    def step(i, x):
        return torch.where(i < length // 2, 0.999 * x + 1e-4, 4 * torch.sin(x) + 0.2 * torch.sin(1.0 * i))

    return Process.from_step(step, length), torch.full((3,), 0.37, dtype=torch.float64)


def sampler(length, eta):
    """A front of contraction: DDIM or DDPM with the shipped denoiser."""
    denoiser = load_digits_denoiser().requires_grad_(False)
    noise = torch.randn(length, 1, 64, generator=torch.Generator().manual_seed(0))
    process = Denoising(denoiser, denoiser.schedule.spaced(length), eta=eta, noise=noise.__getitem__)
    return process, torch.randn(1, 64, generator=torch.Generator().manual_seed(1))


PROCESSES = {
    "chain 50": lambda: chain(50),
    "chain 400": lambda: chain(400),
    "turning 400": lambda: turning(400),
    "easy 100": lambda: easy(100),
    "DDIM 100": lambda: sampler(100, 0.0),
    "DDPM 1000": lambda: sampler(1000, 1.0),
}


class Priced(Local):
    """A backend that tells the price of a round instead of its time."""

    def __init__(self, price):
        super().__init__()
        object.__setattr__(self, "price", price)

    def evaluate(self, call, steps, inputs, overhead):
        timing = RoundTiming(evaluate=self.price(len(steps)))
        return call(steps, inputs), lambda: timing


def noisy(price, seed):
    """The price as a busy machine would tell it: the first call cold, all a little late, a few very late."""
    draw, calls = random.Random(seed), []

    def tell(width):
        calls.append(width)
        late = 4.0 if draw.random() < 0.04 else 0.0
        return price(width) * (1 + 0.15 * draw.random() + late + (40 if len(calls) == 1 else 0))

    return tell


def cold(price):
    """The price, ten times as much at the first call of every width."""
    seen = set()

    def tell(width):
        first = width not in seen
        seen.add(width)
        return price(width) * (10 if first else 1)

    return tell


def run(process, window, price):
    return solve(*PROCESSES[process](), method=Secant(), window=window, check=False, backend=Priced(price))


def total(log, price):
    """What a run cost, warm and undisturbed."""
    return sum(price(entry.width) if entry.rounds == 1 else entry.evaluations * price(1) for entry in log)


@cache
def fixed(process):
    """The widths of the rounds of every fixed window."""
    length = PROCESSES[process]()[0].length
    return [run(process, Sliding(width), COSTS["flat"]).log for width in WIDTHS if width < 2 * length]


every_process = pytest.mark.parametrize("process", PROCESSES)
every_cost = pytest.mark.parametrize("cost", COSTS)


@every_cost
@every_process
@pytest.mark.parametrize(
    "told", [lambda price: price, lambda price: noisy(price, 0), cold], ids=["true", "noisy", "cold"]
)
def test_auto_is_never_much_slower_than_the_ordinary_loop(process, cost, told):
    price = COSTS[cost]
    found = run(process, Auto(), told(price))
    length = PROCESSES[process]()[0].length
    assert total(found.log, price) <= 1.1 * length


@every_process
def test_auto_is_nearly_free_on_long_runs_that_it_cannot_help(process):
    length = PROCESSES[process]()[0].length
    if length >= 400:
        assert total(run(process, Auto(), COSTS["linear"]).log, COSTS["linear"]) <= 1.06 * length


@pytest.mark.parametrize("cost", ["flat", "nearly flat", "a tenth", "roofline"])
@pytest.mark.parametrize("process", ["DDIM 100", "DDPM 1000"])
def test_auto_is_close_to_the_best_fixed_width(process, cost):
    price = COSTS[cost]
    best = min(total(log, price) for log in fixed(process))
    assert total(run(process, Auto(), price).log, price) <= 1.45 * best


def test_auto_reaches_a_wide_window_within_four_rounds_where_a_batch_is_free():
    log = run("DDPM 1000", Auto(), COSTS["flat"]).log
    first = next(index for index, entry in enumerate(log) if entry.width > 1)
    assert max(entry.width for entry in log[first : first + 4]) >= 64


def test_auto_says_why_it_declined():
    (note,) = run("chain 400", Auto(), COSTS["a half"]).notes
    assert note.startswith("Sequential from step ")
    assert " a round of 8 steps costs 4.5 times a single step and advances " in note
    assert note.endswith(" steps.")


def test_auto_declines_once_for_all():
    log = run("chain 400", Auto(), COSTS["a half"]).log
    declined = next(index for index, entry in enumerate(log) if index and entry.in_order)
    assert all(entry.evaluations == entry.accepted for entry in log[declined:])
    assert Auto().width(log, 400) == 0


def test_the_plain_loop_leads_whatever_the_guess():
    process, state = PROCESSES["DDIM 100"]()
    found = solve(process, state, window=Auto(), guess=Copy(), check=False, backend=Priced(COSTS["nearly flat"]))
    assert [entry.width for entry in found.log[:2]] == [2, 5]
    assert [entry.in_order for entry in found.log[:2]] == [True, False]
    assert not found.notes
    assert found.rounds < 30


def test_auto_keeps_its_largest_width():
    assert max(entry.width for entry in run("DDPM 1000", Auto(max_width=20), COSTS["flat"]).log) == 20
    assert all(entry.evaluations == entry.accepted for entry in run("easy 100", Auto(max_width=1), COSTS["flat"]).log)


@pytest.mark.parametrize("length", range(1, 14))
def test_auto_ends_short_paths(length):
    process, state = easy(length)
    found = solve(process, state, window=Auto(), check=False, backend=Priced(COSTS["flat"]))
    assert found.log[-1].start + found.log[-1].accepted == length


def test_windows_refuse_to_hold_nothing():
    assert Full().width([], 7) == 7
    for make in (lambda: Sliding(0), lambda: Auto(max_width=0)):
        with pytest.raises(ValueError, match="holds no step"):
            make()


def entry(start, width, accepted, residuals=None, seconds=1.0, overhead=0.0, threshold=1e-3):
    found = tuple(residuals or [0.0] * width)
    return Round(
        start, start + width, accepted, found, threshold, 1, width, RoundTiming(evaluate=seconds, overhead=overhead)
    )


def test_the_first_call_is_not_trusted_once_there_is_another():
    log = [entry(0, 1, 1, seconds=50.0)]
    assert RoundCost.from_log(log)(1) == 50
    assert RoundCost.from_log([*log, entry(1, 1, 1, seconds=2.0)])(1) == 2


def test_costs_never_fall_and_lie_on_lines():
    log = [entry(0, 1, 1), entry(1, 1, 1), entry(2, 4, 4, seconds=9.0), entry(6, 8, 8, seconds=3.0)]
    costs = RoundCost.from_log([*log, entry(14, 16, 16, seconds=5.0)])
    assert [costs(width) for width in (1, 4, 8, 12, 16)] == [1, 3, 3, 4, 5]
    assert costs(24) == 7
    assert costs.upper_bound(32) == 10
    assert costs(32) <= costs.cautious(32) <= costs.upper_bound(32)


def test_a_round_after_a_wider_one_is_no_measure():
    log = [entry(0, 1, 1), entry(1, 1, 1), entry(2, 8, 8, seconds=2.0), entry(10, 1, 1, seconds=1.9)]
    assert RoundCost.from_log(log)(1) == 1


def test_a_single_step_costs_less_than_a_round_of_one():
    log = [entry(0, 1, 1, overhead=1.0), entry(1, 1, 1, overhead=1.0), entry(2, 11, 11, overhead=5.0)]
    costs = RoundCost.from_log(log)
    assert costs(1) == 2
    assert costs.single == pytest.approx(1.4)  # a step adds 0.4 to the overhead of a round


def test_progress_counts_the_way_that_is_done():
    opening = entry(0, 4, 1, [0.0, 1e-1, 1e-1, 1e-1])
    after = entry(1, 4, 1, [0.0, 1e-2, 1e-1, 1e-1])  # the second slot has gone half the way from 1e-1 to 1e-3
    progress = RoundProgress.from_log([opening, after])
    assert progress.is_measured
    assert progress.steps == pytest.approx(1.5)
    assert progress.power < 0.5  # the far half gained nothing
    assert progress(1) == 1
    assert progress(10**6) <= 10**6
    assert not RoundProgress.from_log([opening]).is_measured


def test_progress_grows_with_the_width_where_far_steps_settle_as_fast_as_near_ones():
    sizes = [[0.0, *([10.0**-power] * 7)] for power in (0, 1, 2)]
    log = [entry(step, 8, 1, residuals) for step, residuals in enumerate(sizes)]
    progress = RoundProgress.from_log(log)
    assert progress.power > 0.8
    assert progress(16) > 1.7 * progress(8)


def test_steps_that_wait_for_a_second_evaluation_bound_what_rounds_may_advance():
    waiting = RoundProgress.from_log([entry(0, 8, 1, [0.0] * 8)])
    assert (waiting.waits, waiting.ceiling(8)) == (True, 4)
    assert waiting(8) <= 4
    moving = RoundProgress.from_log([entry(0, 8, 1, [0.0, *([1.0] * 7)])])
    assert (moving.waits, moving.ceiling(8)) == (False, 8)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_residuals_that_are_not_finite_earn_nothing(bad):
    log = [entry(start, 3, 1, [0.0, bad, bad]) for start in range(3)]
    assert RoundProgress.from_log(log).steps == pytest.approx(1.0)


def with_elapsed(log):
    """The log, with the time of all rounds up to each."""
    seconds = 0.0
    rounds = []
    for each in log:
        seconds += each.timing.total
        rounds.append(replace(each, elapsed=seconds))
    return rounds


def ledger_of(log):
    return RoundLedger.from_log(log, RoundCost.from_log(log), 100)


def test_losses_are_those_since_rounds_last_won():
    log = with_elapsed([entry(0, 1, 1), entry(1, 1, 1), entry(2, 4, 1, seconds=3.0), entry(3, 4, 2, seconds=3.0)])
    assert ledger_of(log).loss == 3
    log = with_elapsed([*log, entry(5, 4, 4, seconds=3.0), entry(9, 4, 4, seconds=3.0), entry(13, 4, 4, seconds=3.0)])
    log = with_elapsed([*log, entry(17, 4, 4, seconds=3.0)])
    assert ledger_of(log).loss == 0
    assert ledger_of(log).gain == 1


def test_what_the_check_evaluated_is_a_loss():
    log = with_elapsed([entry(0, 1, 1), entry(1, 1, 1), entry(2, 4, 4, seconds=4.0)])
    log[-1] = replace(log[-1], elapsed=log[-1].elapsed + 2)
    assert ledger_of(log).loss == 2


def test_going_back_is_charged_to_the_stake():
    first_pass = [entry(0, 1, 1), entry(1, 1, 1), *(entry(2 + 2 * i, 8, 2, seconds=1.5) for i in range(49))]
    second_pass = [entry(2, 8, 2, seconds=1.5)]
    log = with_elapsed([*first_pass, *second_pass])
    assert ledger_of(log).is_spent(0.75)
    assert not ledger_of(log).is_spent(0.1)
    assert not ledger_of(log[:-1]).is_spent(0.75)
    assert Auto().width(log, 100) == 0


def test_auto_gives_up_at_once_where_no_progress_could_pay():
    log = with_elapsed([entry(0, 1, 1), entry(1, 1, 1), entry(2, 4, 1, [0.0, 1.0, 1.0, 1.0], seconds=4.0)])
    assert Auto().width(log, 100) == 0


def test_auto_closes_a_window_that_has_lost_what_was_at_stake_whatever_it_promises():
    residuals = [[0.0, *([10.0**-power] * 7)] for power in range(3)] * 4
    log = [entry(0, 1, 1), entry(1, 1, 1)]
    log += [entry(2 + step, 8, 1, sizes, seconds=3.0) for step, sizes in enumerate(residuals)]
    assert Auto().width(with_elapsed(log[:5]), 300) > 1
    assert Auto().width(with_elapsed(log), 300) == 0


def test_a_threshold_of_zero_is_survived():
    log = [entry(start, 4, 1, [0.0, 1.0, 1.0, 1.0], threshold=0.0) for start in range(6)]
    assert Auto().width(log, 100) >= 0


def test_a_window_within_another_keeps_both():
    log = [entry(start, 1, 1) for start in range(3)]
    assert Within(Sliding(8), 5).width(log, 100) == 5
    assert Within(Sliding(3), 5).width(log, 100) == 3
    assert Within(Auto(), 4).width(log, 100) == min(Auto().width(log, 100), 4)
    assert Within(Auto(), 4).declines(5) == Auto().declines(5) is not None
    with pytest.raises(ValueError, match=r"Within\(..., 0\) holds no step"):
        Within(Sliding(8), 0)


class Counting(list):
    """A log that counts the entries that are looked at; all of them at once are refused."""

    read = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        self.read += len(found) if isinstance(key, slice) else 1
        return found

    def __iter__(self):
        raise AssertionError("this reads the whole log")


def test_auto_looks_at_the_last_rounds_and_the_first_only():
    log = [entry(start, 1, 1) for start in range(3)]
    residuals = [0.0, *(1e-3 * 1.02**slot for slot in range(1, 64))]
    read = []
    for rounds in (200, 20_000):
        counting = Counting(log + [entry(3 + start * 16, 64, 16, residuals) for start in range(rounds)])
        assert Auto().width(counting, 10**6) > 1
        read.append(counting.read)
    assert 0 < read[0] == read[1]
