"""What the benchmarks of robots share: their policies, rivals in order and ahead, and cells that are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler
from harness import ROOT
from torch import Tensor

from forerun import Sliding
from forerun.policy import Sampler
from forerun.policy.modes import Mode
from forerun.policy.noise import TickNoise
from forerun.policy.plan import TickPlan
from forerun.worlds.robots.environment import Environment, RobotTask
from forerun.worlds.robots.episodes import run_episodes
from forerun.worlds.robots.in_order import InOrderSampler
from forerun.worlds.robots.policy import ChunkPolicy, shipped_policy

CELL_FOLDER = ROOT / "forerun-out" / "cells"  # what an interrupted benchmark goes on from; remove it to begin anew
FIRST_EPISODE_SEED = 10_000  # of episodes, which no demonstration has


@dataclass(frozen=True)
class TimedTick:
    """One chunk, and what it took."""

    chunk: Tensor
    rounds: int
    evaluations: int
    seconds: float
    cpu: float


class PolicyRival(Protocol):
    """A way to sample chunks for one environment."""

    def reset(self) -> None:
        """Begin an episode."""

    def tick(self, observation: Tensor) -> TimedTick:
        """The chunk `(1, H, A)` for an observation `(1, *obs)`."""

    @property
    def noise(self) -> Tensor:
        """Of the last tick."""


class PlainRival:
    """The plain loop, eager or compiled."""

    def __init__(self, policy: ChunkPolicy, scheduler: Any, steps: int, seed: int, *, compiled: bool = False) -> None:
        shape = policy.shape
        denoiser = torch.compile(policy, dynamic=False) if compiled else policy
        self.loop = InOrderSampler(denoiser, scheduler, (1, shape.horizon, shape.action), steps=steps)
        self._noises = TickNoise(
            seed, 1 + steps if self.loop.plan.adds_noise else 1, torch.zeros(1, shape.horizon, shape.action)
        )

    def reset(self) -> None:
        pass

    def tick(self, observation: Tensor) -> TimedTick:
        self.noise = self._noises.draw_fresh()
        return time_tick(lambda: self.loop.act(observation, self.noise), lambda: (self.loop.plan.length,) * 2)


class DiffusersRival:
    """The loop as users of diffusers write it; its noise is drawn by the scheduler."""

    noise = None

    def __init__(self, policy: ChunkPolicy, scheduler: Any, steps: int, seed: int) -> None:
        self.policy, self.steps = policy, steps
        self.scheduler = type(scheduler).from_config(scheduler.config)
        self._generator = torch.Generator().manual_seed(seed)

    def reset(self) -> None:
        pass

    def tick(self, observation: Tensor) -> TimedTick:
        return time_tick(lambda: self._loop(observation), lambda: (self.steps,) * 2)

    @torch.no_grad()
    def _loop(self, observation: Tensor) -> Tensor:
        shape, generator = self.policy.shape, self._generator
        self.scheduler.set_timesteps(self.steps)
        sample = torch.randn(1, shape.horizon, shape.action, generator=generator)
        for t in self.scheduler.timesteps:
            predicted = self.policy(sample, t[None], observation)
            sample = self.scheduler.step(predicted, t, sample, generator=generator).prev_sample
        return sample


class CompiledStepRival:
    """The plain loop whose whole step, network and scheduler, is one compiled function."""

    def __init__(self, policy: ChunkPolicy, scheduler: Any, steps: int, seed: int) -> None:
        shape = policy.shape
        like = torch.zeros(1, shape.horizon, shape.action)
        self.plan = TickPlan(scheduler, steps, like, step_options={})
        self._noises = TickNoise(seed, 1 + steps if self.plan.adds_noise else 1, like)
        a, b = self.plan.factors
        self._numbers = torch.stack([a.flatten(), b.flatten(), self.plan.sigma.flatten()], 1)

        def step(sample: Tensor, t: Tensor, observation: Tensor, numbers: Tensor, noise: Tensor) -> Tensor:
            output = policy(sample, t, observation)
            return numbers[0] * sample + numbers[1] * output + numbers[2] * noise

        assert policy.scheduler.config.prediction_type == "sample", "the output of a step is the network's own"
        self._step = torch.compile(step, dynamic=False)

    def reset(self) -> None:
        pass

    def tick(self, observation: Tensor) -> TimedTick:
        self.noise = self._noises.draw_fresh()
        return time_tick(lambda: self._loop(observation), lambda: (self.plan.length,) * 2)

    @torch.no_grad()
    def _loop(self, observation: Tensor) -> Tensor:
        sample, times, still = (
            self.plan.first_sigma * self.noise[0],
            self.plan.timesteps,
            torch.zeros_like(self.noise[0]),
        )
        for k in range(self.plan.length):
            added = self.noise[1 + k] if self.plan.adds_noise else still
            sample = self._step(sample, times[k : k + 1], observation, self._numbers[k], added)
        return sample


class ParadigmsRival:
    """ParaDiGMS' rule (Shih et al. 2023, algorithm 1), written out as plainly as the loop, with its window sliding.

    Increments in one batched call, their cumulative sum, and a step accepted when it moved less than `tolerance` in
    the noise of its step; new slots are copies of the last state. For a scheduler that adds no noise the levels are
    those of the one that does, as diffusers has it.
    """

    def __init__(
        self, policy: ChunkPolicy, scheduler: Any, steps: int, seed: int, *, window: int = 32, tolerance: float = 0.1
    ) -> None:
        shape = policy.shape
        like = torch.zeros(1, shape.horizon, shape.action)
        self.policy, self.window, self.tolerance = policy, window, tolerance
        self.plan = TickPlan(scheduler, steps, like, step_options={})
        self._noises = TickNoise(seed, 1 + steps if self.plan.adds_noise else 1, like)
        a, b = self.plan.factors
        self._state, self._output = a - 1, b
        spread = TickPlan(policy.scheduler, steps, like, step_options={}).sigma.flatten()
        self._inverse = torch.where(spread > 0, 1 / spread.square(), torch.inf)
        self._numel = like.numel()

    def reset(self) -> None:
        pass

    def tick(self, observation: Tensor) -> TimedTick:
        self.noise = self._noises.draw_fresh()
        self._count = [0, 0]
        return time_tick(lambda: self._solve(observation), lambda: tuple(self._count))

    @torch.no_grad()
    def _solve(self, observation: Tensor) -> Tensor:
        length, plan = self.plan.length, self.plan
        path = (plan.first_sigma * self.noise[0]).repeat(length + 1, 1, 1)
        added = (plan.sigma * self.noise[1:])[:, 0] if plan.adds_noise else torch.zeros_like(path[1:])
        begin, end = 0, min(self.window, length)
        while begin < length:
            steps, inputs = slice(begin, end), path[begin:end]
            outputs = self.policy(inputs, plan.timesteps[steps], observation.expand(end - begin, -1))
            self._count[0] += 1
            self._count[1] += end - begin
            moves = self._state[steps, 0] * inputs + self._output[steps, 0] * outputs + added[steps]
            new = path[begin] + moves.cumsum(0)
            error = (new - path[begin + 1 : end + 1]).flatten(1).square().sum(1) / self._numel * self._inverse[steps]
            within = (error <= self.tolerance**2).tolist()
            done = within.index(False) if False in within else len(within)
            path[begin + 1 : end + 1] = new
            begin, before = min(begin + min(1 + done, self.window), end), end
            end = min(begin + self.window, length)
            path[before + 1 : end + 1] = path[before]
        return path[length][None]


class AheadRival:
    """Our sampler; its tolerance is stated, since defaults change."""

    def __init__(
        self,
        policy: ChunkPolicy,
        scheduler: Any,
        steps: int,
        seed: int,
        *,
        mode: Mode,
        window: int = 32,
        tolerance: float = 1e-2,
        **options: Any,
    ) -> None:
        shape = policy.shape
        self.sampler = Sampler(
            policy,
            scheduler,
            (shape.horizon, shape.action),
            steps=steps,
            observation=(shape.observed,),
            mode=mode,
            window=Sliding(min(window, steps)),
            seed=seed,
            tolerance=tolerance,
            **options,
        )

    @property
    def noise(self) -> Tensor:
        return self.sampler.noise

    def reset(self) -> None:
        self.sampler.reset()

    def tick(self, observation: Tensor) -> TimedTick:
        counts = lambda: (self.sampler.report.rounds, self.sampler.report.evaluations)  # noqa: E731
        return time_tick(lambda: self.sampler.act(observation), counts)


def time_tick(act: Callable[[], Tensor], counts: Callable[[], Sequence[int]]) -> TimedTick:
    """Time one tick."""
    wall, cpu = time.perf_counter(), time.process_time()
    chunk = act()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rounds, evaluations = counts()
    return TimedTick(chunk, rounds, evaluations, wall, cpu)


def load_policy(name: str) -> ChunkPolicy:
    """A policy that comes with forerun, or one of a folder."""
    return ChunkPolicy.load(Path(name) if "/" in name else shipped_policy(name))


def ddim(policy: ChunkPolicy) -> Any:
    """DDIM with the settings of the training."""
    return DDIMScheduler.from_config(policy.scheduler.config)


@cache
def shared_environment(task: RobotTask) -> Environment:
    """One environment of a task serves all its episodes: a seed tells all of each."""
    return task.environment()


def run_rival(
    task: RobotTask,
    policy: ChunkPolicy,
    rival: PolicyRival,
    seeds: Sequence[int],
    *,
    executed: int = 8,
    signs: bool = False,
) -> list[dict[str, Any]]:
    """Episodes of a rival, with what every tick took."""
    environment, found = shared_environment(task), []
    for seed in seeds:
        ticks: list[TimedTick] = []

        def act(observation: Tensor, ticks: list[TimedTick] = ticks) -> Tensor:
            ticks.append(rival.tick(observation))
            return policy.decode_chunks(ticks[-1].chunk, signs=signs)

        rival.reset()
        (episode,) = run_episodes([environment], act, [FIRST_EPISODE_SEED + seed], executed=executed)
        found.append({
            "success": episode.success, "failed": episode.failed, "reward": episode.reward, "best": episode.best,
            "steps": episode.steps,
            "ticks": [[tick.rounds, tick.evaluations, tick.seconds, tick.cpu] for tick in ticks],
        })  # fmt: skip
    return found


def record_observations(task: RobotTask, policy: ChunkPolicy, count: int, *, executed: int = 8) -> list[list[Tensor]]:
    """What was observed at every tick of some episodes in order, `(1, observed)` each."""
    found: list[list[Tensor]] = []
    for seed in range(count):
        rival = PlainRival(policy, policy.scheduler, 100, seed)
        found.append([])

        def act(observation: Tensor, rival: PlainRival = rival) -> Tensor:
            found[-1].append(observation)
            return policy.decode_chunks(rival.tick(observation).chunk)

        run_episodes([shared_environment(task)], act, [FIRST_EPISODE_SEED + seed], executed=executed)
    return found


def cell_file(name: str) -> Path:
    """Where a cell is kept."""
    return CELL_FOLDER / f"{name.replace('/', 'by')}.json"


def cached_cell(name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, kept in a file: an interrupted benchmark goes on after its last cell."""
    file = cell_file(name)
    if not file.exists():
        CELL_FOLDER.mkdir(parents=True, exist_ok=True)
        found = make()
        file.with_suffix(".tmp").write_text(json.dumps(found))
        file.with_suffix(".tmp").replace(file)
    return json.loads(file.read_text())
