"""What `forerun sample` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from forerun.cli.kit.machine import machine_line
from forerun.cli.kit.tables import JobFigures, comparison_table, verdict_sentence
from forerun.cli.kit.terminal import console, print_notes
from forerun.cli.sample.job import SampleJob
from forerun.cli.sample.options import SampleOptions
from forerun.view.formatting import format_duration, format_gain

SAMPLE_LEGEND = """\
rounds       calls of the network, one after another: what time pays for
evaluations  steps computed in all of them
deviation    of the final latents from those in order: largest number, rms of
             the worst sample, and forerun's own estimate of that
time         of the whole call, text to image, after a warm-up: ahead, of the
             second image of its kind
"""
SLOWER_ADVICE = """\
A round is one call for many steps, and here such a call costs nearly as much
as its steps one by one. `forerun info` measures this machine's large batches."""
AUTO_ADVICE = "`--window auto` measures it on the way, and runs in order where nothing is won."


def show_begin(job: SampleJob, options: SampleOptions, machine: dict[str, str]) -> None:
    """Print what will be drawn, and how."""
    if job.prompt is not None:
        console.print(f"[bold]{escape(job.prompt)}[/bold]", soft_wrap=True)
    tolerance = "the usual tolerance"
    if options.tolerance is not None:
        tolerance = f"tolerance {options.tolerance:g}"
    console.print(
        f"[dim]{job.pipeline_name}, {job.name}, seed {options.seed}\n"
        f"method {options.method}, window {options.window}, {tolerance}\n"
        f"{machine_line(machine)}[/dim]\n"
    )


def show_figures(job: JobFigures, window: str, threads: int) -> None:
    """Print the table, what was noted, and what the figures mean in words."""
    console.print(comparison_table([job]))
    if job["in_order"] is None:
        print_notes(job["notes"])
        console.print("Not compared with the run in order, as --no-compare asked.")
        return
    console.print(SAMPLE_LEGEND, style="dim")
    if threads > 1:
        loop_threads = job["in_order"]["threads"]
        console.print(f"A step alone is quickest with {loop_threads} of {threads} threads: so it ran in order.")
    first_seconds = job["ahead"]["first_seconds"]
    if first_seconds is not None:
        console.print(f"The first image took {format_duration(first_seconds)} ahead, with all that is found out once.")
    print_notes(job["notes"])
    likeness = _likeness_sentence(job["deviation"]["pixels"])
    if job["speed_up"]["rounds"] <= 1:
        console.print(likeness)
        console.print("It ran in order all the way. To see it run ahead all the same: --window full")
        return
    console.print(f"{likeness} {verdict_sentence(job)}")
    _show_slowdown(job["speed_up"]["time"], window)


def _likeness_sentence(pixels: int) -> str:
    if not pixels:
        return "The images are equal."
    return f"No pixel of the images differs by more than {pixels} of 255."


def _show_slowdown(speed_up: float, window: str) -> None:
    """Print that running ahead was slower, and what to do, where it was."""
    if speed_up >= 1:
        return
    console.print(f"[yellow]Running ahead was {format_gain(speed_up, 'faster', 'slower')} here.[/yellow]")
    console.print(SLOWER_ADVICE)
    if window != "auto":
        console.print(AUTO_ADVICE)


def show_end(
    pictures: Sequence[str],
    out: Path,
    report: Path | None,
    *,
    with_frames: bool,
) -> None:
    """Print where the files are."""
    console.print(f"\nIn [bold]{escape(str(out))}[/bold]:")
    console.print(f"  {', '.join(pictures)}, summary.json", soft_wrap=True)
    if report is None:
        return
    console.print(f"The page of the run: [bold]{escape(str(report))}[/bold]", soft_wrap=True)
    if not with_frames:
        console.print("It shows no images on their way: none ran ahead, or the pipeline leads to them otherwise.")
