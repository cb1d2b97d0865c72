"""The files that `forerun sample` leaves: images, figures, and a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from torch import Tensor

from forerun.cli.sample.frames import decode_frames
from forerun.cli.sample.runs import PipelineRunResult, SampleOutcome
from forerun.view import Deviation, RunPage, write_page
from forerun.view.pictures import save_picture, tile_rows

PIXEL_SCALE = 10  # by which differences are enlarged


@dataclass(frozen=True)
class SampleFiles:
    """Where to write, and the line that would write it again."""

    out: Path
    report: Path | None
    command: str


def write_images(outcome: SampleOutcome, out: Path) -> list[str]:
    """Write an image a file, and all of them beside those in order; return the names of the files."""
    names = []
    for number, picture in enumerate(outcome.ahead.pictures, 1):
        names.append(f"image-{number}.png")
        save_picture(picture, out / names[-1])
    save_picture(tile_rows(_picture_rows(outcome)), out / "grid.png")
    return [*names, "grid.png"]


def _picture_rows(outcome: SampleOutcome) -> dict[str, list[Tensor]]:
    if outcome.in_order is None:
        return {"ahead": outcome.ahead.pictures}
    differences = [(picture.int() * PIXEL_SCALE).clamp(max=255).byte() for picture in outcome.differences]
    return {
        "in order": outcome.in_order.pictures,
        "ahead": outcome.ahead.pictures,
        f"difference, {PIXEL_SCALE} times": differences,
    }


def sample_figures(outcome: SampleOutcome, pictures: list[str]) -> dict[str, Any]:
    """Return the figures of both runs."""
    solution = outcome.solution
    pixels = [int(picture.max()) for picture in outcome.differences]
    return {
        "job": outcome.job.name,
        "in_order": _in_order_figures(outcome.in_order),
        "ahead": {
            "rounds": solution.rounds,
            "evaluations": solution.evaluations,
            "inflation": solution.inflation,
            "seconds": outcome.ahead.seconds,
            "first_seconds": outcome.first_seconds,
            "split": asdict(solution.seconds),
        },
        "deviation": {
            **_deviation_figures(outcome.deviation),
            "estimate": solution.deviation_estimate,
            "pixels": max(pixels, default=None),
        },
        "speed_up": {"rounds": solution.step / max(solution.rounds, 1), "time": outcome.speed_up},
        "status": solution.status.value,
        "notes": list(solution.notes),
        "pictures": pictures,
    }


def _in_order_figures(in_order: PipelineRunResult | None) -> dict[str, float] | None:
    if in_order is None:
        return None
    return {
        "rounds": in_order.steps,
        "evaluations": in_order.steps,
        "seconds": in_order.seconds,
        "threads": in_order.threads,
    }


def _deviation_figures(deviation: Deviation | None) -> dict[str, float | None]:
    if deviation is None:
        return {"largest": None, "rms": None}
    return {"largest": deviation.largest, "rms": deviation.rms}


def write_report(
    outcome: SampleOutcome,
    machine: Mapping[str, str],
    command: str,
    path: Path,
) -> bool:
    """Write the page of the run ahead; return whether it shows the images on their way."""
    job, in_order = outcome.job, outcome.in_order
    frames = decode_frames(job, outcome.solution, outcome.watch, outcome.ahead.pictures)
    page = RunPage.from_solution(
        outcome.solution,
        outcome.ahead.pictures,
        title=f"{job.pipeline_name}: {job.name}",
        frames=frames,
        prompt=job.prompt,
        command=command,
        in_order=None if in_order is None else in_order.seconds,
        ahead=outcome.ahead.seconds,
        deviation=outcome.deviation,
        about={**machine, "date": date.today().isoformat()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, page)
    return bool(frames)
