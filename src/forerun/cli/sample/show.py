"""What `forerun sample` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.markup import escape

from forerun.cli.machine import environment
from forerun.cli.sample.job import Job
from forerun.cli.sample.options import Options
from forerun.cli.table import Figures, compared, verdict
from forerun.cli.terminal import console
from forerun.view.formatting import format_gain

LEGEND = """\
rounds       calls of the network, one after another: what time pays for
evaluations  steps computed in all of them
deviation    of the final latents from those in order: largest number, rms of
             the worst sample, and forerun's own estimate of that
time         of the whole call, text to image, after a warm-up
"""
SLOWER = """\
A round is one call for many steps, and here such a call costs nearly as much
as its steps one by one. `forerun info` tells what large batches cost here."""
AUTO = "`--window auto` measures it on the way, and runs in order where nothing is won."


def show_begin(job: Job, options: Options, device: torch.device) -> None:
    """What will be drawn, and how."""
    machine = environment(device)
    if job.prompt is not None:
        console.print(f"[bold]{escape(job.prompt)}[/bold]", soft_wrap=True)
    tolerance = "the usual tolerance" if options.tolerance is None else f"tolerance {options.tolerance:g}"
    console.print(
        f"[dim]{type(job.pipe).__name__}, {job.name}, seed {options.seed}\n"
        f"method {options.method}, window {options.window}, {tolerance}\n"
        f"torch {machine['torch']}, {machine['threads']} thread(s), {machine['processor']}[/dim]\n"
    )


def show_figures(job: Figures, window: str) -> None:
    """The table, what was noted, and what the figures mean in words."""
    console.print(compared([job]))
    if job["in_order"] is not None:
        console.print(LEGEND, style="dim")
    for note in job["notes"]:
        console.print(f"[yellow]note[/yellow]: {escape(note)}")
    if job["in_order"] is None:
        console.print("Not compared with the run in order, as --no-compare asked.")
        return
    pixels, ratio = job["deviation"]["pixels"], job["speed_up"]["time"]
    same = "The images are equal" if not pixels else f"No pixel of the images differs by more than {pixels} of 255"
    console.print(f"{same}. {verdict(job)}" if job["speed_up"]["rounds"] > 1 else f"{same}.")
    if job["speed_up"]["rounds"] <= 1:
        console.print("It ran in order all the way. To see it run ahead all the same: --window full")
    elif ratio < 1:
        console.print(f"[yellow]Running ahead was {format_gain(ratio, 'faster', 'slower')} here.[/yellow]")
        console.print(SLOWER)
        if window != "auto":
            console.print(AUTO)


def show_end(pictures: Sequence[str], out: Path, report: Path | None, *, moving: bool) -> None:
    """Where the files are."""
    console.print(f"\nIn [bold]{escape(str(out))}[/bold]:")
    console.print(f"  {', '.join(pictures)}, summary.json", soft_wrap=True)
    if report is not None:
        console.print(f"The page of the run: [bold]{escape(str(report))}[/bold]", soft_wrap=True)
        if not moving:
            console.print("It shows no images on their way: none ran ahead, or the pipeline leads to them otherwise.")
