"""A run as one page for the browser: a single file that loads nothing, made to be shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from torch import Tensor

from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.solution import Seconds, Solution
from forerun.view.deviation import Deviation
from forerun.view.pictures import inlined, rgb
from forerun.view.report import duration, gain

PICTURES, FRAMES, ROWS, CELLS = 16, 48, 2000, 40_000  # shown at most: samples, frames, iterations, slots
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Frame:
    """The pictures as they were foreseen after some round.

    Attributes:
        round: rounds made so far, as `Solution.rounds` counts them; 0 is before the first.
        pictures: one a sample, in the order and the formats of the `Page`'s.
    """

    round: int
    pictures: Sequence[Tensor]


@dataclass(frozen=True)
class Page:
    """All that a page tells.

    Attributes:
        title: what was sampled, and how.
        pictures: the final ones, one a sample; uint8 `(3, H, W)`, `(H, W, 3)` or grey `(H, W)`.
        length: steps of the process.
        log: the rounds, as `Solution.log` has them; they become the wavefront.
        status: how the run ended, a sentence.
        frames: the pictures on their way, with rising rounds.
        prompt: what the pictures were asked to show.
        command: the line that repeats the run.
        highlights: what the few figures that are set large count, and they.
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
    frames: Sequence[Frame] = ()
    prompt: str | None = None
    command: str | None = None
    highlights: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seconds: Seconds | None = None
    in_order: float | None = None
    notes: Sequence[str] = ()
    rounds_before: int = 0

    @property
    def rounds(self) -> int:
        """Rounds made, those before the log included."""
        return self.rounds_before + sum(max(entry.rounds, 1) for entry in self.log)

    @classmethod
    def of(
        cls,
        solution: Solution,
        pictures: Sequence[Tensor],
        *,
        title: str,
        frames: Sequence[Frame] = (),
        prompt: str | None = None,
        command: str | None = None,
        in_order: float | None = None,
        ahead: float | None = None,
        deviation: Deviation | None = None,
        about: Mapping[str, str] | None = None,
    ) -> Page:
        """The page of a solution.

        Args:
            solution: the run.
            pictures: its final pictures.
            title: see `Page`, like `frames`, `prompt` and `command`.
            in_order: seconds of the sequential run, where it was timed.
            ahead: seconds of this run, where they were measured from outside; else those of the solution.
            deviation: from the sequential run, where it was measured.
            about: device, versions, date and the like.
        """
        log = _whole(solution)
        before = solution.rounds - sum(max(entry.rounds, 1) for entry in log)
        seconds = _timed(solution, ahead)
        total = None if seconds is None else seconds.total
        ratio = in_order / total if in_order and total else None
        work = {"rounds": solution.rounds, "evaluations": solution.evaluations, "inflation": solution.inflation}
        measured = {} if deviation is None else {"largest": deviation.largest, "rms": deviation.rms}
        return cls(
            title=title,
            pictures=pictures,
            length=solution.length,
            log=log,
            status=solution.status.value,
            frames=frames,
            prompt=prompt,
            command=command,
            highlights=_highlights(solution, deviation, ratio),
            figures={
                "Rounds": {"steps accepted": f"{solution.step} of {solution.length}", **_known(work, _rounded)},
                "Deviation": _known({**measured, "estimated": solution.deviation_estimate}, _power),
                "Time": _known({"in order": in_order, "ahead": total}, duration),
                "Made with": about or {},
            },
            seconds=seconds,
            in_order=in_order,
            notes=solution.notes,
            rounds_before=before,
        )


def write_page(path: Path, run: Page) -> None:
    """Write the page of a run; see `page`."""
    path.write_text(page(run), encoding="utf-8")


def page(run: Page) -> str:
    """The HTML of a page: one file of at most 9 MB that loads nothing, and without scripts lacks only its drawings.

    Pictures stand in it as PNG; where that would be too large as WebP, and at last as smaller pictures. Of many
    samples, frames or rounds, some are left out.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: something is no picture, or a frame has not one picture a sample.
    """
    for frame in run.frames:
        if len(frame.pictures) != len(run.pictures):
            raise ValueError(
                f"the frame of round {frame.round} has {len(frame.pictures)} pictures for {len(run.pictures)} samples; "
                "pass one a sample, Frame(round, pictures)"
            )
    tables = [
        f"<section><h2>{escape(heading)}</h2><dl>{_terms(rows)}</dl></section>"
        for heading, rows in run.figures.items()
        if rows
    ]
    blocks = {
        "title": escape(run.title),
        "prompt": escape(run.prompt or ""),
        "pictures": _pictures(run),
        "more": f"The first {PICTURES} of {len(run.pictures)} samples." if len(run.pictures) > PICTURES else "",
        "status": escape(run.status),
        "highlights": _terms(run.highlights),
        "figures": "".join(tables),
        "notes": "".join(f"<li>{escape(note)}</li>" for note in run.notes),
        "command": escape(run.command or ""),
        "data": json.dumps(_data(run), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = resources.files("forerun.view").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(blocks)


def _whole(solution: Solution) -> list[Round]:
    """The log, with the steps before its first entry that were taken one by one."""
    log = list(solution.log)
    begun, told = log[0].start if log else solution.step, sum(max(entry.rounds, 1) for entry in log)
    if 0 < begun <= solution.rounds - told:
        threshold = log[0].threshold if log else 1.0
        log.insert(0, Round(0, begun, begun, (0.0,) * begun, threshold, begun, begun, RoundTiming(), in_order=True))
    return log


def _timed(solution: Solution, total: float | None) -> Seconds | None:
    """Where the time went, what was spent around the solution included; None where it is not known."""
    if total is not None:
        return replace(solution.seconds, rest=solution.seconds.rest + max(total - solution.seconds.total, 0.0))
    resumed = solution.rounds > sum(max(entry.rounds, 1) for entry in solution.log)
    return None if resumed else solution.seconds  # of a resumed run, only the rest was timed


def _highlights(solution: Solution, deviation: Deviation | None, ratio: float | None) -> dict[str, str]:
    """Rounds; time, or else evaluations; and the deviation, measured or else estimated."""
    rounds, steps = solution.rounds, solution.step
    found = {f"rounds instead of {steps}" if rounds < steps else f"rounds for {steps} steps": str(rounds)}
    if ratio is None:
        found["evaluations a step"] = f"{solution.inflation:.2f}"
    else:
        number, word = gain(ratio, "faster", "slower").split()
        found[f"{word} than in order"] = number.replace("x", "×")
    if deviation is not None:
        return {**found, "largest deviation from the run in order": _power(deviation.largest)}
    return {**found, **_known({"deviation from the run in order, estimated": solution.deviation_estimate}, _power)}


def _known(rows: Mapping[str, float | None], words: Callable[[float], str]) -> dict[str, str]:
    """Figures in words, those that are not known left out."""
    return {name: words(value) for name, value in rows.items() if value is not None}


def _rounded(number: float) -> str:
    return str(round(number, 2))


def _power(number: float) -> str:
    """Two digits and a power of ten."""
    if not number or not math.isfinite(number):
        return f"{number:g}"
    digits, _, power = f"{number:.1e}".partition("e")
    return f"{digits}×10{str(int(power)).translate(SUPERSCRIPTS)}"


def _terms(rows: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows.items())


def _pictures(run: Page) -> str:
    """The final pictures as `img` elements."""
    count, name = len(run.pictures), escape(run.prompt or run.title)
    shown, found = [rgb(picture) for picture in run.pictures[:PICTURES]], []
    for index, (picture, source) in enumerate(zip(shown, inlined(shown), strict=True), 1):
        high, wide, _ = picture.shape
        alt = name if count == 1 else f"{name}, sample {index} of {count}"
        size = f'width="{wide}" height="{high}" style="--aspect: {wide / high:.4g}"'
        found.append(f'<img src="{source}" alt="{alt}" {size}>')
    return "".join(found)


def _data(run: Page) -> dict[str, Any]:
    """What the script draws: the wavefront, the time, and the frames before the last round, whose are the pictures."""
    stride, rows, before = _stride(sum(entry.width for entry in run.log), CELLS), [], run.rounds_before
    for entry in run.log:
        kept = {name: getattr(entry, name) for name in ("start", "stop", "accepted", "rounds", "evaluations")}
        residuals = [_short(size) for size in entry.residuals[-entry.start % stride :: stride]]
        rows.append({**kept, "before": before, "threshold": _short(entry.threshold), "residuals": residuals})
        before += max(entry.rounds, 1)
    frames = [frame for frame in run.frames if frame.round < run.rounds]
    frames = frames[:: _stride(len(frames), FRAMES)]
    sources = iter(inlined([rgb(picture) for frame in frames for picture in frame.pictures[:PICTURES]]))
    moving = [{"round": frame.round, "sources": [next(sources) for _ in frame.pictures[:PICTURES]]} for frame in frames]
    told = {name: getattr(run, name) for name in ("length", "rounds", "rounds_before", "in_order")}
    seconds = None if run.seconds is None else asdict(run.seconds)
    return {**told, "seconds": seconds, "stride": stride, "log": rows[:: _stride(len(rows), ROWS)], "frames": moving}


def _stride(count: int, most: int) -> int:
    return max(-(-count // most), 1)


def _short(number: float) -> float | None:
    """Three digits; None where it is not finite."""
    return float(f"{number:.3g}") if math.isfinite(number) else None
