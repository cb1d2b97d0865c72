"""Progress: what is shown while a run goes on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from forerun.engine.rounds import Round

Report = Callable[[Round], None]
LimitReport = Callable[[int, float], None]  # (evaluations so far, largest residual)


def ignore_evaluation(evaluations: int, residual: float) -> None:
    """Report an evaluation to nobody."""


class Progress(ABC):
    """Something that follows a run."""

    @abstractmethod
    def track(self, start: int, length: int) -> AbstractContextManager[Report]:
        """Return a context for a run from step `start` to `length`, which gives the function to report rounds to."""

    def track_limit(self, threshold: float) -> AbstractContextManager[LimitReport]:
        """Return a context for the search of a limit, which gives the function to report evaluations to.

        Args:
            threshold: what the residuals are to come below.
        """
        return nullcontext(ignore_evaluation)


@dataclass(frozen=True)
class Silent(Progress):
    """Shows nothing."""

    @contextmanager
    def track(self, start: int, length: int) -> Iterator[Report]:
        yield lambda entry: None


@dataclass(frozen=True)
class Bar(Progress):
    """A progress bar: accepted steps, rounds, and steps per round so far with the speed-up that they brought.

    The speed-up compares with rounds of one step, once a warm one was seen (`Auto` makes some); `?` before.
    """

    leave: bool = True

    @contextmanager
    def track(self, start: int, length: int) -> Iterator[Report]:
        pace = RunPace()
        with tqdm(
            total=length,
            initial=start,
            unit="step",
            leave=self.leave,
        ) as bar:

            def report(entry: Round) -> None:
                pace.add_round(entry)
                bar.set_postfix_str(str(pace), refresh=False)
                bar.update(max(entry.start + entry.accepted - bar.n, -bar.n))

            yield report

    @contextmanager
    def track_limit(self, threshold: float) -> Iterator[LimitReport]:
        with tqdm(unit="evaluation", leave=self.leave) as bar:

            def report(evaluations: int, residual: float) -> None:
                bar.set_postfix_str(f"residual {residual:.2g} of {threshold:.2g}", refresh=False)
                bar.update(evaluations - bar.n)

            yield report


@dataclass(frozen=True)
class Log(Progress):
    """A line a round to a logger, by default `forerun` at level INFO."""

    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("forerun"))

    @contextmanager
    def track(self, start: int, length: int) -> Iterator[Report]:
        pace = RunPace()

        def report(entry: Round) -> None:
            pace.add_round(entry)
            self.logger.info(
                "step %d of %d: accepted %d of %d, %s",
                entry.start,
                length,
                entry.accepted,
                entry.width,
                str(pace),
            )

        yield report

    @contextmanager
    def track_limit(self, threshold: float) -> Iterator[LimitReport]:
        def report(evaluations: int, residual: float) -> None:
            self.logger.info("evaluation %d: residual %.3g of %.3g", evaluations, residual, threshold)

        yield report


@dataclass
class RunPace:
    """Rounds, steps and seconds of a run so far."""

    rounds: int = 0
    accepted: int = 0
    seconds: float = 0.0
    single: float | None = None  # seconds of the quickest warm round of one step

    def add_round(self, entry: Round) -> None:
        self.rounds += entry.rounds
        self.accepted += entry.accepted
        self.seconds += entry.timing.total
        if entry.width == 1 and self.rounds > entry.rounds:  # the very first call is cold
            self.single = min(entry.timing.total, self.single or float("inf"))

    def __str__(self) -> str:
        speed_up = "?"
        if self.single is not None and self.seconds:
            speed_up = f"{self.accepted * self.single / self.seconds:.1f}x"
        steps_per_round = self.accepted / max(self.rounds, 1)
        return f"{self.rounds} rounds, {steps_per_round:.1f} steps a round, speed-up {speed_up}"
