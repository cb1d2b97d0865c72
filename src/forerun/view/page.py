"""A run as one page for the browser: all that the page reports, and how it follows from a solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.solution import RunTiming, Solution
from forerun.view.deviation import Deviation
from forerun.view.formatting import format_duration, format_gain, format_power
from forerun.view.slot_grid import rounds_of_log


@dataclass(frozen=True)
class PageFrame:
    """The pictures as they were foreseen after some round.

    Attributes:
        round: rounds made so far, as `Solution.rounds` counts them; 0 is before the first.
        pictures: one a sample, in the order and the formats of the `RunPage`'s.
    """

    round: int
    pictures: Sequence[Tensor]


@dataclass(frozen=True)
class RunPage:
    """All that a page reports of a run.

    Attributes:
        title: what was sampled, and how.
        pictures: the final ones, one a sample; uint8 `(3, H, W)`, `(H, W, 3)` or grey `(H, W)`.
        length: steps of the process.
        log: the rounds, as `Solution.log` has them; they become the wavefront.
        status: how the run ended, a sentence.
        frames: the pictures on their way, with rising rounds.
        prompt: what the pictures were asked to show.
        command: the line that repeats the run.
        highlights: the few figures that are set large, by what they count.
        figures: headings, and below each the names of figures, and they.
        seconds: where the time went.
        in_order: seconds that the sequential run took.
        notes: what the run decided on its way; sentences.
        rounds_before: rounds made before the log begins, in a resumed run.
    """

    title: str
    pictures: Sequence[Tensor]
    length: int
    log: Sequence[Round]
    status: str
    frames: Sequence[PageFrame] = ()
    prompt: str | None = None
    command: str | None = None
    highlights: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: RunTiming | None = None
    in_order: float | None = None
    notes: Sequence[str] = ()
    rounds_before: int = 0

    @property
    def rounds(self) -> int:
        """Rounds made, those before the log included."""
        return self.rounds_before + rounds_of_log(self.log)

    @classmethod
    def from_solution(
        cls,
        solution: Solution,
        pictures: Sequence[Tensor],
        *,
        title: str,
        frames: Sequence[PageFrame] = (),
        prompt: str | None = None,
        command: str | None = None,
        in_order: float | None = None,
        ahead: float | None = None,
        deviation: Deviation | None = None,
        about: Mapping[str, str] | None = None,
    ) -> RunPage:
        """Return the page of a solution.

        Args:
            solution: the run.
            pictures: its final pictures.
            title: see `RunPage`, like `frames`, `prompt` and `command`.
            in_order: seconds of the sequential run, where it was timed.
            ahead: seconds of this run, where they were measured from outside; else those of the solution.
            deviation: from the sequential run, where it was measured.
            about: device, versions, date and the like.
        """
        log = _complete_log(solution)
        seconds = _split_seconds(solution, ahead)
        total = None if seconds is None else seconds.total
        figures = {
            "Rounds": _round_figures(solution),
            "Deviation": _deviation_figures(solution, deviation),
            "Time": _format_numbers({"in order": in_order, "ahead": total}, format_duration),
            "Made with": about or {},
        }
        return cls(
            title=title,
            pictures=pictures,
            length=solution.length,
            log=log,
            status=solution.status.value,
            frames=frames,
            prompt=prompt,
            command=command,
            highlights=_highlights(solution, deviation, _speed_up(in_order, total)),
            figures=figures,
            seconds=seconds,
            in_order=in_order,
            notes=solution.notes,
            rounds_before=solution.rounds - rounds_of_log(log),
        )


def _complete_log(solution: Solution) -> list[Round]:
    """Return the log, with the steps before its first entry that were taken one by one."""
    log = list(solution.log)
    first_step, threshold = solution.step, 1.0
    if log:
        first_step, threshold = log[0].start, log[0].threshold
    rounds_before = solution.rounds - rounds_of_log(log)
    if 0 < first_step <= rounds_before:
        log.insert(0, _stretch_in_order(first_step, threshold))
    return log


def _stretch_in_order(steps: int, threshold: float) -> Round:
    """Return the entry of steps that were taken in order from the first on."""
    return Round(
        start=0,
        stop=steps,
        accepted=steps,
        residuals=(0.0,) * steps,
        threshold=threshold,
        rounds=steps,
        evaluations=steps,
        timing=RoundTiming(),
        in_order=True,
    )


def _split_seconds(solution: Solution, total: float | None) -> RunTiming | None:
    """Return where the time went, what was spent around the solution included; None where it is not known."""
    seconds = solution.seconds
    if total is not None:
        around = max(total - seconds.total, 0.0)
        return replace(seconds, overhead=seconds.overhead + around)
    if solution.rounds > rounds_of_log(solution.log):
        return None  # of a resumed run, only the end was timed
    return seconds


def _speed_up(in_order: float | None, ahead: float | None) -> float | None:
    if not in_order or not ahead:
        return None
    return in_order / ahead


def _round_figures(solution: Solution) -> dict[str, str]:
    return {
        "steps accepted": f"{solution.step} of {solution.length}",
        "rounds": str(solution.rounds),
        "evaluations": str(solution.evaluations),
        "inflation": str(round(solution.inflation, 2)),
    }


def _deviation_figures(solution: Solution, deviation: Deviation | None) -> dict[str, str]:
    numbers: dict[str, float | None] = {}
    if deviation is not None:
        numbers = {"largest": deviation.largest, "rms": deviation.rms}
    numbers["estimated"] = solution.deviation_estimate
    return _format_numbers(numbers, format_power)


def _highlights(solution: Solution, deviation: Deviation | None, speed_up: float | None) -> dict[str, str]:
    """Return rounds; time, or else evaluations; and the deviation, measured or else estimated."""
    steps = solution.step
    name = f"rounds instead of {steps}" if solution.rounds < steps else f"rounds for {steps} steps"
    highlights = {name: str(solution.rounds)}
    if speed_up is None:
        highlights["evaluations a step"] = f"{solution.inflation:.2f}"
    else:
        number, word = format_gain(speed_up, "faster", "slower").split()
        highlights[f"{word} than in order"] = number.replace("x", "×")
    if deviation is not None:
        highlights["largest deviation from the run in order"] = format_power(deviation.largest)
    elif solution.deviation_estimate is not None:
        highlights["deviation from the run in order, estimated"] = format_power(solution.deviation_estimate)
    return highlights


def _format_numbers(numbers: Mapping[str, float | None], format_number: Callable[[float], str]) -> dict[str, str]:
    """Return numbers in words, without those that are None."""
    return {name: format_number(number) for name, number in numbers.items() if number is not None}
