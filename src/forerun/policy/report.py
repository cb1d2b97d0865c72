"""The report of a tick: what it came to, in figures and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forerun.engine.solution import Status
from forerun.policy.tick import TickAnswer

OUT_OF_TIME: Final = (
    "There was no time for more rounds: the end of the path is foreseen, and the next tick goes on from there."
)


@dataclass(frozen=True)
class TickReport:
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
        action_held: of each environment, whether the network gave something not finite, and an action was held instead.
        sentence: what holds.
    """

    rounds: int
    evaluations: int
    deviation: float | None
    milliseconds: float
    step: int
    length: int
    stale: tuple[bool, ...]
    action_held: tuple[bool, ...]
    sentence: str

    @classmethod
    def from_answer(cls, answer: TickAnswer, seconds: float, length: int) -> TickReport:
        """Return the report of an answer."""
        solution = answer.solution
        return cls(
            rounds=solution.rounds,
            evaluations=solution.evaluations,
            deviation=answer.deviation,
            milliseconds=1000 * seconds,
            step=solution.step,
            length=length,
            stale=answer.stale,
            action_held=answer.bad,
            sentence=_describe_answer(answer),
        )

    @property
    def done(self) -> bool:
        """Whether every step was done."""
        return self.step == self.length

    def __str__(self) -> str:
        estimate = "not estimated"
        if self.deviation is not None:
            estimate = f"{self.deviation:.2g} (estimate)"
        return (
            f"{self.step} of {self.length} steps in {self.rounds} rounds, {self.evaluations} evaluations, "
            f"{self.milliseconds:.1f} ms; deviation {estimate}. {self.sentence}"
        )


def _describe_answer(answer: TickAnswer) -> str:
    sentences = []
    if not any(answer.bad):
        sentences.append(_describe_status(answer.solution.status))
    if any(answer.stale):
        environments = _list_environments(answer.stale)
        sentences.append(f"The guess from the last tick was dropped for environment(s) {environments}.")
    if any(answer.bad):
        environments = _list_environments(answer.bad)
        sentences.append(
            f"The network gave values that are not finite for environment(s) {environments}: the next action "
            "of the last good chunk is held there."
        )
    return " ".join(sentences)


def _describe_status(status: Status) -> str:
    if status is Status.STOPPED:
        return OUT_OF_TIME
    sentence: str = status.value
    return sentence


def _list_environments(flags: Sequence[bool]) -> str:
    return ", ".join(str(index) for index, flag in enumerate(flags) if flag)
