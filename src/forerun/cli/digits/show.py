"""What `forerun digits` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.style import Style
from rich.text import Text
from torch import Tensor

from forerun.cli.digits.job import Options, Outcome
from forerun.cli.digits.records import headline, images
from forerun.cli.machine import environment
from forerun.cli.table import Figures, compared, verdict
from forerun.cli.terminal import console

LEGEND = """\
rounds       calls of the network, one after another: what time pays for
evaluations  steps computed in all of them
deviation    from the digits in order: largest of any pixel, rms of the worst
             digit, and the estimate of that which forerun makes by itself;
             pixels lie between -1 and 1
time         median of runs in turn, after a warm-up; in order is the plain
             loop, without forerun
"""


ADVICE = """\
Fewer rounds are time saved where a large batch costs little more than a small
one: on a GPU, or with fewer samples. `forerun info` tells what it costs here."""


def show_begin(options: Options, device: torch.device) -> None:
    """What will be sampled, and where."""
    machine = environment(device)
    console.print(
        f"[dim]{options.samples} digits of seed {options.seed}, to {options.tolerance:g} of the sequential run\n"
        f"method {options.method}, window {options.window}; torch {machine['torch']}, {machine['threads']} thread(s), "
        f"{machine['processor']}[/dim]\n"
    )


def show_digits(outcome: Outcome) -> None:
    """The digits sampled ahead, on a terminal that has colours, and the headline."""
    if console.is_terminal and console.color_system is not None:
        console.print(_strip(images(outcome.ahead.state), console.width))
    console.print(f"  {headline(outcome)}\n")


def show_table(jobs: Sequence[Figures]) -> None:
    """All jobs, a row in order and a row ahead for each, and what the columns mean."""
    console.print(compared(jobs))
    console.print(LEGEND, style="dim")


def show_end(jobs: Sequence[Figures], out: Path) -> None:
    """What the times mean, what the runs noted, and where the files are."""
    for job in jobs:
        for note in job["notes"]:
            console.print(f"[yellow]{job['job']}[/yellow]: {note}")
    timed = [job for job in jobs if job["speed_up"]["time"] is not None]
    for job in timed:
        console.print(f"[bold]{job['job']}[/bold]: {verdict(job)}")
    if any(job["speed_up"]["time"] < 2 for job in timed):
        console.print(ADVICE)
    console.print(f"\nIn [bold]{out}[/bold]:")
    for job in jobs:
        console.print(f"  {job['pictures']['digits']}, {job['pictures']['wavefront']}", soft_wrap=True)
    console.print("  report.md, summary.json")


def _strip(pictures: Tensor, width: int) -> Text:
    """Pictures `(B, height, wide)` side by side, two rows of pixels in a line of half blocks; those that fit."""
    count = max((width - 2) // (pictures.shape[2] + 2), 1)
    grey = ((1 - pictures[:count].clamp(-1, 1)) * 127.5).round().int()
    lines = Text()
    for row in range(0, grey.shape[1], 2):
        lines.append("  ")
        for picture in grey.tolist():
            for top, bottom in zip(picture[row], picture[row + 1], strict=True):
                lines.append("▀", Style(color=f"rgb({top},{top},{top})", bgcolor=f"rgb({bottom},{bottom},{bottom})"))
            lines.append("  ")
        lines.append("\n")
    return lines
