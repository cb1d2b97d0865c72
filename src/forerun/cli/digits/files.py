"""The files that `forerun digits` leaves: pictures, figures and a page of each job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli.digits.job import DigitsOptions, DigitsOutcome
from forerun.cli.digits.plan import DigitsRecord
from forerun.cli.kit.output_files import write_summary
from forerun.engine.solution import Solution
from forerun.view import draw_side_by_side, draw_wavefront, format_report
from forerun.view.formatting import format_gain


def record_outcome(outcome: DigitsOutcome, out: Path) -> DigitsRecord:
    """Draw a job's pictures into `out`, and return its record."""
    job = outcome.job
    names = {"digits": f"{job.file_stem}-digits.png", "wavefront": f"{job.file_stem}-wavefront.png"}
    sequential = digit_pictures(outcome.sequential.state)
    ahead = digit_pictures(outcome.ahead.state)
    figure = draw_side_by_side(sequential, ahead, title=job.name, subtitle=headline(outcome))
    figure.savefig(out / names["digits"])
    draw_wavefront(outcome.ahead).savefig(out / names["wavefront"])
    report = format_report(outcome.ahead, outcome.sequential).replace("# ", "### ", 1)
    blocks = [
        f"## {job.name}",
        f"![the digits]({names['digits']})",
        f"{report}\n![the wavefront]({names['wavefront']})\n",
    ]
    return DigitsRecord(_figures(outcome, names), "\n\n".join(blocks))


def headline(outcome: DigitsOutcome) -> str:
    """Return rounds and time in a line."""
    in_order, ahead = outcome.sequential.rounds, outcome.ahead.rounds
    fewer = format_gain(in_order / max(ahead, 1), "fewer", "more")
    line = f"{in_order} rounds in order, {ahead} ahead: {fewer}"
    if outcome.speed_up is None:
        return line
    return f"{line}, {format_gain(outcome.speed_up, 'faster', 'slower')}"


def digit_pictures(state: Tensor) -> Tensor:
    """Return digits `(B, 64)` as pictures `(B, 8, 8)`."""
    return state.reshape(-1, 8, 8).float().cpu()


def write_files(
    out: Path,
    machine: Mapping[str, str],
    options: DigitsOptions,
    records: Sequence[DigitsRecord],
) -> None:
    """Write `summary.json` for programs and `report.md` for people."""
    option_words = asdict(options)
    figures = [record.figures for record in records]
    write_summary(out, machine=machine, options=option_words, jobs=figures)
    facts = {**machine, **option_words}
    lines = ["# Digits, in order and ahead", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines.append("")
    lines += [record.page for record in records]
    (out / "report.md").write_text("\n".join(lines))


def _figures(outcome: DigitsOutcome, pictures: dict[str, str]) -> dict[str, Any]:
    sequential, ahead = outcome.sequential, outcome.ahead
    return {
        "job": outcome.job.name,
        "in_order": {
            "rounds": sequential.rounds,
            "evaluations": sequential.evaluations,
            "seconds": sequential.seconds.total,
        },
        "ahead": {
            "rounds": ahead.rounds,
            "evaluations": ahead.evaluations,
            "inflation": ahead.inflation,
            **_time_figures(ahead, resumed=outcome.resumed),
        },
        "deviation": {**asdict(outcome.deviation), "estimate": ahead.deviation_estimate},
        "speed_up": {"rounds": sequential.rounds / max(ahead.rounds, 1), "time": outcome.speed_up},
        "status": ahead.status.value,
        "notes": list(ahead.notes),
        "pictures": pictures,
    }


def _time_figures(ahead: Solution, *, resumed: bool) -> dict[str, Any]:
    if resumed:
        return {"seconds": None, "split": None}
    return {"seconds": ahead.seconds.total, "split": asdict(ahead.seconds)}
