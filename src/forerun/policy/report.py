"""Report: what a tick came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forerun.engine.solution import Status
from forerun.policy.tick import Answer

OUT_OF_TIME: Final = (
    "There was no time for more rounds: the end of the path is foreseen, and the next tick goes on from there."
)


@dataclass(frozen=True)
class Report:
    """What there is to say of one tick.

    Attributes:
        rounds: calls of the network, one after another.
        evaluations: steps evaluated in them, of each environment.
        deviation: estimated root mean square by which the actions may be off the sequential run's, the largest over
            the environments, in units of the tolerance; None where it was not estimated.
        milliseconds: from the call of `act` to its answer.
        step: steps of the scheduler that are done; all of them unless there was no time.
        length: all of them.
        stale: of each environment, whether the guess from the last tick was dropped.
        held: of each environment, whether the network gave something not finite, and an action was held instead.
        sentence: what holds.
    """

    rounds: int
    evaluations: int
    deviation: float | None
    milliseconds: float
    step: int
    length: int
    stale: tuple[bool, ...]
    held: tuple[bool, ...]
    sentence: str

    @classmethod
    def of(cls, answer: Answer, seconds: float, length: int) -> Report:
        """The report of an answer."""
        solution = answer.solution
        return cls(
            rounds=solution.rounds,
            evaluations=solution.evaluations,
            deviation=answer.deviation,
            milliseconds=1000 * seconds,
            step=solution.step,
            length=length,
            stale=answer.stale,
            held=answer.bad,
            sentence=_sentence(answer),
        )

    @property
    def done(self) -> bool:
        """Whether every step was done."""
        return self.step == self.length

    def __str__(self) -> str:
        estimate = "not estimated" if self.deviation is None else f"{self.deviation:.2g} (estimate)"
        return (
            f"{self.step} of {self.length} steps in {self.rounds} rounds, {self.evaluations} evaluations, "
            f"{self.milliseconds:.1f} ms; deviation {estimate}. {self.sentence}"
        )


def _sentence(answer: Answer) -> str:
    said = []
    if not any(answer.bad):
        said.append(OUT_OF_TIME if answer.solution.status is Status.STOPPED else answer.solution.status.value)
    if any(answer.stale):
        said.append(f"The guess from the last tick was dropped for environment(s) {_numbers(answer.stale)}.")
    if any(answer.bad):
        said.append(
            f"The network gave values that are not finite for environment(s) {_numbers(answer.bad)}: the next action "
            "of the last good chunk is held there."
        )
    return " ".join(said)


def _numbers(flags: Sequence[bool]) -> str:
    return ", ".join(str(index) for index, flag in enumerate(flags) if flag)
