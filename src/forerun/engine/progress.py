"""Progress: what is shown while a run goes on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from forerun.engine.rounds import Round

Report = Callable[[Round], None]


class Progress(ABC):
    """Something that follows a run."""

    @abstractmethod
    def track(self, start: int, length: int) -> AbstractContextManager[Report]:
        """A context for a run from step `start` to `length`, which gives the function to report rounds to."""


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
        seen = _Pace()
        with tqdm(total=length, initial=start, unit="step", leave=self.leave) as bar:

            def report(entry: Round) -> None:
                seen.add(entry)
                bar.set_postfix_str(str(seen), refresh=False)
                bar.update(max(entry.start + entry.accepted - bar.n, -bar.n))

            yield report


@dataclass(frozen=True)
class Log(Progress):
    """A line a round to a logger, by default `forerun` at level INFO."""

    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("forerun"))

    @contextmanager
    def track(self, start: int, length: int) -> Iterator[Report]:
        seen = _Pace()

        def report(entry: Round) -> None:
            seen.add(entry)
            self.logger.info(
                "step %d of %d: accepted %d of %d, %s", entry.start, length, entry.accepted, entry.width, str(seen)
            )

        yield report


@dataclass
class _Pace:
    """Rounds, steps and seconds so far."""

    rounds: int = 0
    accepted: int = 0
    seconds: float = 0.0
    single: float | None = None  # seconds of the quickest warm round of one step

    def add(self, entry: Round) -> None:
        self.rounds += entry.rounds
        self.accepted += entry.accepted
        self.seconds += entry.timing.total
        if entry.width == 1 and self.rounds > entry.rounds:  # the very first call is cold
            self.single = min(entry.timing.total, self.single or float("inf"))

    def __str__(self) -> str:
        faster = "?"
        if self.single is not None and self.seconds:
            faster = f"{self.accepted * self.single / self.seconds:.1f}x"
        return f"{self.rounds} rounds, {self.accepted / max(self.rounds, 1):.1f} steps a round, speed-up {faster}"
