"""What a sampling leaves behind: images, figures, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from forerun.cli.sample.frames import frames
from forerun.cli.sample.options import Options
from forerun.cli.sample.runs import Outcome, Run
from forerun.view import RunPage, write_page
from forerun.view.pictures import save_picture, tile_rows

TIMES = 10  # by which differences are enlarged


def write_images(outcome: Outcome, out: Path) -> list[str]:
    """An image a file, and all of them beside those in order; the names of the files."""
    names = [f"image-{number}.png" for number in range(1, len(outcome.ahead.pictures) + 1)]
    for name, picture in zip(names, outcome.ahead.pictures, strict=True):
        save_picture(picture, out / name)
    named = {"ahead": outcome.ahead.pictures}
    if outcome.in_order is not None:
        apart = [(picture.int() * TIMES).clamp(max=255).byte() for picture in outcome.differences]
        named = {"in order": outcome.in_order.pictures, **named, f"difference, {TIMES} times": apart}
    save_picture(tile_rows(named), out / "grid.png")
    return [*names, "grid.png"]


def figures(outcome: Outcome, pictures: list[str]) -> dict[str, Any]:
    """The figures of both runs."""
    solution, order, deviation = outcome.solution, outcome.in_order, outcome.deviation
    differences = [int(each.max()) for each in outcome.differences]
    return {
        "job": outcome.job.name,
        "in_order": None if order is None else _in_order(order),
        "ahead": {
            "rounds": solution.rounds,
            "evaluations": solution.evaluations,
            "inflation": solution.inflation,
            "seconds": outcome.ahead.seconds,
            "split": asdict(solution.seconds),
        },
        "deviation": {
            "largest": None if deviation is None else deviation.largest,
            "rms": None if deviation is None else deviation.rms,
            "estimate": solution.deviation_estimate,
            "pixels": max(differences, default=None),
        },
        "speed_up": {"rounds": solution.step / max(solution.rounds, 1), "time": outcome.speed_up},
        "status": solution.status.value,
        "notes": list(solution.notes),
        "pictures": pictures,
    }


def _in_order(order: Run) -> dict[str, float]:
    return {"rounds": order.steps, "evaluations": order.steps, "seconds": order.seconds}


def write_figures(job: Mapping[str, Any], machine: Mapping[str, str], options: Options, out: Path) -> None:
    """`summary.json`."""
    summary = {"machine": machine, "options": asdict(options), "jobs": [job]}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def write_report(outcome: Outcome, machine: Mapping[str, str], command: str, path: Path) -> bool:
    """The page of the run ahead; whether it shows the images on their way."""
    job, order = outcome.job, outcome.in_order
    moving = frames(job, outcome.solution, outcome.watch, outcome.ahead.pictures)
    page = RunPage.from_solution(
        outcome.solution,
        outcome.ahead.pictures,
        title=f"{type(job.pipe).__name__}: {job.name}",
        frames=moving,
        prompt=job.prompt,
        command=command,
        in_order=None if order is None else order.seconds,
        ahead=outcome.ahead.seconds,
        deviation=outcome.deviation,
        about={**machine, "date": date.today().isoformat()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, page)
    return bool(moving)
