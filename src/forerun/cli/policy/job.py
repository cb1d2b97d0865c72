"""A policy in its environment: loaded, set to a mode, and run for some episodes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli import words
from forerun.cli.policy import names
from forerun.engine.windows import Window
from forerun.policy.modes import RTI
from forerun.policy.sampler import WINDOW, Sampler
from forerun.worlds.robots.environment import Environment, RobotTask
from forerun.worlds.robots.episodes import Episode, run_episodes, success_interval
from forerun.worlds.robots.in_order import InOrderSampler
from forerun.worlds.robots.policy import ChunkPolicy, shipped_policy

FIRST_SEED = 10_000  # of the episodes: far from those of the demonstrations


@dataclass(frozen=True)
class Options:
    """Of the command, in its words.

    Args:
        mode: how a tick is answered.
        scheduler: of the sampling.
        steps: of the scheduler.
        executed: actions of a chunk that are executed.
        episodes: how many.
        seed: of the noise, and of the first episode.
        tolerance: of the sampler.
        window: steps in flight; empty for the sampler's own.
        deadline: milliseconds of a tick, where the mode has one.
        check: estimate how far each chunk is from the one in order, and go on where that is too far.
    """

    mode: str
    scheduler: str
    steps: int
    executed: int
    episodes: int
    seed: int
    tolerance: float
    window: str
    deadline: float
    check: bool


@dataclass(frozen=True)
class Count:
    """What one tick took."""

    rounds: int
    evaluations: int
    milliseconds: float


@dataclass(frozen=True)
class Outcome:
    """Episodes, and what their ticks took."""

    episodes: Sequence[Episode]
    ticks: Sequence[Count]

    @property
    def successes(self) -> int:
        """Of the episodes."""
        return sum(episode.success for episode in self.episodes)

    def figures(self) -> dict[str, float]:
        """Means, and percentiles of the latency in milliseconds."""
        low, high = success_interval(self.successes, len(self.episodes))
        waits = sorted(tick.milliseconds for tick in self.ticks)
        return {
            "success": self.successes / len(self.episodes),
            "low": low,
            "high": high,
            "reward": statistics.fmean(episode.reward for episode in self.episodes),
            "rounds": statistics.fmean(tick.rounds for tick in self.ticks),
            "evaluations": statistics.fmean(tick.evaluations for tick in self.ticks),
            "median": statistics.median(waits),
            "slowest": waits[min(len(waits) - 1, round(0.99 * len(waits)))],
        }


@dataclass(frozen=True)
class Job:
    """A task and a policy for it."""

    task: RobotTask
    environment: Environment
    policy: ChunkPolicy
    scheduler: Any
    window: Window


def prepare(word: str, folder: Path | None, options: Options) -> Job:
    """Load all that is needed.

    Raises:
        ImportError: something is not installed.
        OSError: there is no policy in the folder.
        ValueError: the words make no sense, or the policy is of another task.
    """
    task = names.task(word)
    kind = words.choose(options.scheduler, names.SCHEDULERS, "--scheduler")
    words.choose(options.mode, names.MODES, "--mode")
    window = words.window(options.window) if options.window else WINDOW
    if folder is None and not shipped_policy(task.name).is_dir():
        raise ValueError(
            f"no policy of {word} comes with forerun; type: forerun train-policy {word} --out my-policy, and then: "
            f"forerun policy {word} --policy my-policy"
        )
    policy = ChunkPolicy.load(folder or shipped_policy(task.name))
    environment = task.environment()
    observed = len(environment.reset(0).observation)
    if observed != policy.shape.observed:
        raise ValueError(
            f"the policy of {folder} sees {policy.shape.observed} numbers, but {word} shows {observed}; train one: "
            f"forerun train-policy {word} --out {folder}"
        )
    if not 1 <= options.executed <= policy.shape.horizon:
        raise ValueError(
            f"--executed {options.executed} of chunks of {policy.shape.horizon} actions; type --executed 8"
        )
    trained = policy.shape.train_steps
    if not 1 <= options.steps <= trained:
        raise ValueError(
            f"--steps {options.steps} of a policy trained with {trained}; type --steps {trained}, or fewer"
        )
    return Job(task, environment, policy, kind(policy.scheduler), window)


def ahead(job: Job, options: Options, watch: Callable[[Environment], None]) -> Outcome:
    """Episodes in the mode that was asked for."""
    shape = job.policy.shape
    grippers = tuple(range(job.task.displacements, shape.action))
    mode = names.MODES[options.mode](options.deadline, job.policy.config["gripper"], grippers)
    sampler = Sampler(
        job.policy,
        job.scheduler,
        (shape.horizon, shape.action),
        steps=options.steps,
        executed=options.executed,
        observation=(shape.observed,),
        mode=mode,
        seed=options.seed,
        window=job.window,
        tolerance=options.tolerance,
        check=options.check,
    )

    def tick(observation: Tensor) -> tuple[Tensor, Count]:
        chunk, report = sampler.act(observation), sampler.report
        assert report is not None
        return chunk, Count(report.rounds, report.evaluations, report.milliseconds)

    signs = isinstance(mode, RTI)
    return _episodes(job, options, tick, sampler.reset, watch, signs=signs)


def in_order(job: Job, options: Options) -> Outcome:
    """The same episodes by the plain loop."""
    shape = job.policy.shape
    loop = InOrderSampler(
        job.policy, job.scheduler, (1, shape.horizon, shape.action), steps=options.steps, seed=options.seed
    )

    def tick(observation: Tensor) -> tuple[Tensor, Count]:
        chunk = loop.act(observation)
        return chunk, Count(options.steps, options.steps, loop.milliseconds)

    return _episodes(job, options, tick, lambda: None, lambda environment: None)


def _episodes(
    job: Job,
    options: Options,
    tick: Callable[[Tensor], tuple[Tensor, Count]],
    reset: Callable[[], None],
    watch: Callable[[Environment], None],
    *,
    signs: bool = False,
) -> Outcome:
    ticks: list[Count] = []

    def act(observation: Tensor) -> Tensor:
        chunk, count = tick(observation)
        ticks.append(count)
        return job.policy.decode_chunks(chunk, signs=signs)

    episodes = []
    for number in range(options.episodes):
        reset()
        seed = FIRST_SEED + options.seed + number
        episodes += run_episodes([job.environment], act, [seed], executed=options.executed, on_step=watch)
    return Outcome(episodes, ticks)
