"""A policy in its environment: loaded, set to a mode, and run for some episodes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli import words
from forerun.cli.kit.solve_options import read_solve_options
from forerun.cli.policy.options import PolicyOptions
from forerun.engine.options import SolveOptions
from forerun.policy.modes import RTI
from forerun.policy.sampler import Sampler
from forerun.worlds.robots.environment import Environment, RobotTask
from forerun.worlds.robots.episodes import Episode, run_episodes, success_interval
from forerun.worlds.robots.in_order import InOrderSampler
from forerun.worlds.robots.policy import ChunkPolicy, shipped_policy

FIRST_SEED = 10_000  # of the episodes: far from those of the demonstrations
SLOW_SHARE = 0.99  # of the ticks that are answered sooner than the slowest ones

StepListener = Callable[[Environment], None]


@dataclass(frozen=True)
class TickCost:
    """What one tick took."""

    rounds: int
    evaluations: int
    milliseconds: float


@dataclass(frozen=True)
class PolicyOutcome:
    """Episodes, and what their ticks took."""

    episodes: Sequence[Episode]
    ticks: Sequence[TickCost]

    @property
    def successes(self) -> int:
        """Episodes that were done in time."""
        return sum(episode.success for episode in self.episodes)

    def figures(self) -> dict[str, float]:
        """Return means, and percentiles of the latency in milliseconds."""
        count = len(self.episodes)
        low, high = success_interval(self.successes, count)
        latencies = sorted(tick.milliseconds for tick in self.ticks)
        slow = min(len(latencies) - 1, round(SLOW_SHARE * len(latencies)))
        return {
            "success": self.successes / count,
            "low": low,
            "high": high,
            "reward": statistics.fmean(episode.reward for episode in self.episodes),
            "rounds": statistics.fmean(tick.rounds for tick in self.ticks),
            "evaluations": statistics.fmean(tick.evaluations for tick in self.ticks),
            "median": statistics.median(latencies),
            "slowest": latencies[slow],
        }


@dataclass(frozen=True)
class PolicyJob:
    """A task and a policy for it."""

    task: RobotTask
    environment: Environment
    policy: ChunkPolicy
    scheduler: Any
    solve_options: SolveOptions


def prepare_policy(task_word: str, folder: Path | None, options: PolicyOptions) -> PolicyJob:
    """Load all that is needed.

    Raises:
        ImportError: something is not installed.
        OSError: there is no policy in the folder.
        ValueError: the words make no sense, or the policy is of another task.
    """
    task = words.find_task(task_word)
    build_scheduler = words.choose_word(options.scheduler, words.POLICY_SCHEDULERS, "--scheduler")
    words.choose_word(options.mode, words.MODES, "--mode")
    solve_options = read_solve_options(window=options.window, tolerance=options.tolerance, advice="3e-3")
    solve_options = replace(solve_options, check=options.check)
    policy = _load_policy(task_word, task, folder)
    environment = task.environment()
    _refuse_other_task(task_word, folder, policy, environment)
    _refuse_numbers(options, policy)
    return PolicyJob(task, environment, policy, build_scheduler(policy.scheduler), solve_options)


def _load_policy(task_word: str, task: RobotTask, folder: Path | None) -> ChunkPolicy:
    if folder is None:
        folder = shipped_policy(task.name)
        if not folder.is_dir():
            raise ValueError(
                f"no policy of {task_word} comes with forerun; type: forerun train-policy {task_word} --out my-policy, "
                f"and then: forerun policy {task_word} --policy my-policy"
            )
    return ChunkPolicy.load(folder)


def _refuse_other_task(
    task_word: str,
    folder: Path | None,
    policy: ChunkPolicy,
    environment: Environment,
) -> None:
    observed = len(environment.reset(0).observation)
    if observed != policy.shape.observed:
        raise ValueError(
            f"the policy of {folder} sees {policy.shape.observed} numbers, but {task_word} shows {observed}; train "
            f"one: forerun train-policy {task_word} --out {folder}"
        )


def _refuse_numbers(options: PolicyOptions, policy: ChunkPolicy) -> None:
    horizon = policy.shape.horizon
    if not 1 <= options.executed <= horizon:
        raise ValueError(
            f"--executed {options.executed} is more than the {horizon} actions of a chunk; type --executed 8"
        )
    trained_steps = policy.shape.train_steps
    if not 1 <= options.steps <= trained_steps:
        raise ValueError(
            f"--steps {options.steps} is more than the {trained_steps} that the policy was trained with; type --steps "
            f"{trained_steps}, or fewer"
        )


@dataclass
class EpisodeRunner:
    """Runs the episodes of a job, and counts what their ticks take.

    Attributes:
        job: what is run.
        options: of the command.
        answer: from an observation to a chunk and its cost.
        signs: whether the grippers of a chunk count by their sign only.
        ticks: what was counted.
    """

    job: PolicyJob
    options: PolicyOptions
    answer: Callable[[Tensor], tuple[Tensor, TickCost]]
    signs: bool = False
    ticks: list[TickCost] = field(default_factory=list)

    def act(self, observation: Tensor) -> Tensor:
        """Return the actions for an observation, and count the tick."""
        chunk, cost = self.answer(observation)
        self.ticks.append(cost)
        return self.job.policy.decode_chunks(chunk, signs=self.signs)

    def run_all(self, begin_episode: Callable[[], None], on_step: StepListener) -> PolicyOutcome:
        """Run all episodes, one after another."""
        episodes: list[Episode] = []
        for number in range(self.options.episodes):
            begin_episode()
            episodes += run_episodes(
                [self.job.environment],
                self.act,
                [FIRST_SEED + self.options.seed + number],
                executed=self.options.executed,
                on_step=on_step,
            )
        return PolicyOutcome(episodes, self.ticks)


def run_ahead(job: PolicyJob, options: PolicyOptions, on_step: StepListener) -> PolicyOutcome:
    """Run the episodes in the mode that was asked for."""
    shape = job.policy.shape
    grippers = tuple(range(job.task.displacements, shape.action))
    mode = words.MODES[options.mode](options.deadline, job.policy.config["gripper"], grippers)
    sampler = Sampler(
        job.policy,
        job.scheduler,
        (shape.horizon, shape.action),
        steps=options.steps,
        executed=options.executed,
        observation=(shape.observed,),
        mode=mode,
        seed=options.seed,
        options=job.solve_options,
    )

    def answer(observation: Tensor) -> tuple[Tensor, TickCost]:
        chunk = sampler.act(observation)
        report = sampler.report
        assert report is not None
        return chunk, TickCost(report.rounds, report.evaluations, report.milliseconds)

    runner = EpisodeRunner(job, options, answer, signs=isinstance(mode, RTI))
    return runner.run_all(sampler.reset, on_step)


def run_in_order(job: PolicyJob, options: PolicyOptions) -> PolicyOutcome:
    """Run the same episodes by the plain loop."""
    shape = job.policy.shape
    loop = InOrderSampler(
        job.policy,
        job.scheduler,
        (1, shape.horizon, shape.action),
        steps=options.steps,
        seed=options.seed,
    )

    def answer(observation: Tensor) -> tuple[Tensor, TickCost]:
        chunk = loop.act(observation)
        return chunk, TickCost(options.steps, options.steps, loop.milliseconds)

    runner = EpisodeRunner(job, options, answer)
    return runner.run_all(lambda: None, ignore_step)


def ignore_step(environment: Environment) -> None:
    """Do nothing after a step: the listener of whoever records nothing."""
