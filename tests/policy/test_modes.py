"""What a deadline and real-time iteration make of a tick."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from policy.problems import SHAPE, ddpm, on_the_way, own_loop, walker
from torch import Tensor

from forerun import Sliding
from forerun.policy import RTI, Deadline, Mode, Sampler, Warm, tick_run

FLOAT = torch.float64


def scheduler() -> Any:
    return ddpm(prediction_type="sample", clip_sample=False)


def sampler(mode: Any, **options: Any) -> Sampler:
    chosen = {"executed": 3, "steps": 100, "dtype": FLOAT, "mode": mode, **options}
    return Sampler(walker, scheduler(), SHAPE, **chosen)


class Ticking:
    """Stands for the clock: another second in every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_deadline_that_is_never_met_gives_the_exact_answer() -> None:
    deadline, warm = (sampler(mode, tolerance=1e-5) for mode in (Deadline(1e6), Warm()))
    for tick in range(3):
        chunk, exact = deadline.act(on_the_way(tick)), warm.act(on_the_way(tick))
        assert torch.equal(chunk, exact)
        assert deadline.report.done
        assert deadline.report.deviation <= 1e-4


@pytest.mark.parametrize("window", [Sliding(16), Sliding(100)])
def test_a_deadline_stops_in_time_and_says_how_far_off_the_answer_is(
    window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick_run.time, "perf_counter", Ticking())
    early = sampler(Deadline(1), window=window, tolerance=1e-5)  # over after the first round, by this clock
    for tick in range(4):
        chunk = early.act(on_the_way(tick))
        own = own_loop(scheduler(), 100, early.noise, on_the_way(tick)[None], denoiser=walker)[0]
        off = float((chunk - own).square().mean().sqrt())
        assert early.report.rounds == 1
        assert not early.report.done
        assert "no time" in early.report.sentence
        assert off / 20 < early.report.deviation < 50 * max(off, 1e-4)
        assert off < 0.5


def test_more_time_brings_the_answer_nearer() -> None:
    found = []
    for rounds in (1, 8, 100):
        policy = sampler(Stop(rounds), tolerance=1e-7, window=Sliding(100))
        chunk = policy.act(on_the_way(0))
        own = own_loop(scheduler(), 100, policy.noise, on_the_way(0)[None], denoiser=walker)[0]
        found.append((float((chunk - own).abs().max()), policy.report.deviation))
    off = [each[0] for each in found]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 1e-6
    estimates = [each[1] for each in found]
    assert estimates == sorted(estimates, reverse=True)


@dataclass(frozen=True)
class Stop(Mode):
    """Stops after so many rounds, whatever the time."""

    rounds: int
    carries: bool = True
    shifts: bool = True

    def answer(self, tick: Any) -> Any:
        return tick.solve_in_time(stop=Count(self.rounds), stale=0.5)

    def actions(self, sample: Tensor) -> Tensor:
        return sample


class Count:
    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def __call__(self, entry: Any) -> bool:
        self.left -= 1
        return self.left <= 0


def test_what_was_left_goes_on_in_the_next_tick() -> None:
    """At an observation that stands still, one round a tick comes nearer and nearer."""
    policy = sampler(Stop(1), tolerance=1e-7, window=Sliding(100), executed=1)
    still = torch.zeros(5, dtype=FLOAT)
    off = []
    for _ in range(6):
        chunk = policy.act(still)
        own = own_loop(scheduler(), 100, policy.noise, still[None], denoiser=walker)[0]
        off.append(float((chunk - own).square().mean().sqrt()))
    assert sum(off[3:]) / 3 < off[0]


def test_what_is_foreseen_and_not_finite_is_held_too() -> None:
    """One round has reached no step from its exact input where the network fails, but the end is made of them."""
    broken = False

    def denoiser(x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        found = walker(x, t, observation)
        return found.masked_fill((t < 50)[:, None, None], torch.nan) if broken else found

    policy = Sampler(denoiser, scheduler(), SHAPE, executed=3, dtype=FLOAT, mode=Stop(1))
    good = policy.act(on_the_way(0))
    broken = True
    held = policy.act(on_the_way(1))
    assert policy.report.action_held == (True,)
    assert torch.equal(held, good[3].expand(SHAPE))
    broken = False
    assert torch.isfinite(policy.act(on_the_way(2))).all()
    assert policy.report.action_held == (False,)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_is_foreseen_stays_within_what_the_network_says(rounds: int) -> None:
    policy = sampler(Stop(200), tolerance=1e-7, window=Sliding(16))
    policy.act(on_the_way(0))
    policy.mode = Stop(rounds)
    policy._outputs[60:] += 50  # a trend of steps that these rounds do not reach
    chunk = policy.act(on_the_way(1))
    assert not policy.report.done
    assert chunk.abs().max() <= 0.9  # walker: 0.6 and 0.3


def test_a_deadline_of_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Deadline\(10\)"):
        Deadline(0)


def by_hand(guess: Tensor, timesteps: Sequence[int], noise: Tensor, observation: Tensor) -> Tensor:
    """The loop of the paper: steps of the scheduler at some timesteps, from a guess without noise."""
    theirs, x = scheduler(), guess
    theirs.set_timesteps(100)
    for t in timesteps:
        a, before = theirs.alphas_cumprod[t], theirs.alphas_cumprod[t - 1] if t else torch.tensor(1.0)
        beta, denoised = 1 - a / before, walker(x, torch.tensor([t]), observation)
        x = before.sqrt() * beta / (1 - a) * denoised + (a / before).sqrt() * (1 - before) / (1 - a) * x
        if t:
            x = x + ((1 - before) / (1 - a) * beta).clamp_min(1e-20).sqrt() * noise[1 + 99 - t]
    return x


@pytest.mark.parametrize("timesteps", [(2, 1, 0), (3, 1, 0), (40, 20, 0)])
def test_real_time_iteration_is_the_papers_loop(timesteps: Sequence[int]) -> None:
    policy = sampler(RTI(steps=timesteps), executed=1)
    chunk = policy.act(on_the_way(0, 1))
    assert policy.report.done
    assert policy.report.length == policy.report.step == 100
    own = own_loop(scheduler(), 100, policy.noise, on_the_way(0, 1)[None], denoiser=walker)[0]
    assert float((chunk - own).abs().max()) < 0.05, "an episode begins with the full schedule"
    for tick in range(1, 4):
        guess = torch.cat([chunk[1:], chunk[-1:]])
        chunk = policy.act(on_the_way(tick, 1))
        found = by_hand(guess[None], timesteps, policy.noise, on_the_way(tick, 1)[None])[0]
        assert float((chunk - found).abs().max()) < 1e-6
        assert policy.report.rounds == len(timesteps)
    assert torch.equal(sampler(RTI(3)).plan.timesteps[-3:], torch.tensor([2, 1, 0]))


def test_discrete_actions_take_signs_and_where_clipped_the_guess_does_too() -> None:
    scaled, clipped = RTI(discrete=(2,)), RTI(discrete=(2,), clip=True)
    for mode in (scaled, clipped):
        policy = sampler(mode)
        for tick in range(3):
            chunk = policy.act(on_the_way(tick))
            assert set(chunk[:, 2].tolist()) <= {-1.0, 1.0}
            assert not set(chunk[:, 0].tolist()) <= {-1.0, 1.0}
    guess = clipped.make_guess(torch.tensor([[[0.5, -0.4, -0.7], [0.1, 0.2, 0.3]]]))
    assert torch.allclose(guess, torch.tensor([[[0.5, -0.4, -0.1], [0.1, 0.2, 0.1]]]))
    unclipped = torch.rand(1, 2, 3)
    assert torch.equal(scaled.make_guess(unclipped), unclipped)


def test_real_time_iteration_begins_anew_where_an_episode_does() -> None:
    policy = sampler(RTI(), environments=2)
    policy.reset()
    both = torch.stack([on_the_way(0), on_the_way(3)])
    policy.act(both)
    policy.act(both)
    assert policy.report.rounds == 3
    policy.reset([1])
    chunk = policy.act(both)
    own = own_loop(scheduler(), 100, policy.noise, both, denoiser=walker)
    assert float((chunk[1] - own[1]).abs().max()) < 0.05
    assert float((chunk[0] - own[0]).abs().max()) > 0.1, "the other goes on from its last chunk"


def test_timesteps_that_are_not_visited_are_refused() -> None:
    policy = sampler(RTI(steps=(2, 1, 0)), steps=10)
    policy.act(on_the_way(0))
    with pytest.raises(ValueError, match=r"timesteps \[2, 1\].*RTI\(steps=\(2, 1, 0\)\)"):
        policy.act(on_the_way(1))
