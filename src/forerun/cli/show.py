"""What `forerun sample` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.style import Style
from rich.table import Table
from rich.text import Text
from torch import Tensor

from forerun.cli.job import Options, Outcome
from forerun.cli.machine import environment
from forerun.cli.records import headline, images
from forerun.cli.terminal import console
from forerun.view.report import duration, gain, times

Figures = Mapping[str, Any]

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
    """All jobs, a row in order and a row ahead for each."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="")
    table.add_column("")
    for heading in ("rounds", "evaluations", "largest\ndeviation", "rms", "estimate", "time", "speed-up"):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for job in jobs:
        order, ahead, deviation = job["in_order"], job["ahead"], job["deviation"]
        table.add_row(f"[bold]{job['job'].removesuffix(' steps')}[/bold]")
        table.add_row(
            "  in order", str(order["rounds"]), str(order["evaluations"]), "", "", "", duration(order["seconds"])
        )
        table.add_row(
            "  ahead",
            f"[bold green]{ahead['rounds']}[/bold green]",
            str(ahead["evaluations"]),
            *(f"{deviation[name]:.1e}" for name in ("largest", "rms", "estimate")),
            "-" if ahead["seconds"] is None else duration(ahead["seconds"]),
            _speed(job["speed_up"]["time"]),
            end_section=True,
        )
    console.print(table)
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


def verdict(job: Figures) -> str:
    """Rounds and time in words, with the price of a round that lies between them."""
    order, ahead, ratio = job["in_order"], job["ahead"], job["speed_up"]
    price = (ahead["seconds"] / max(ahead["rounds"], 1)) / (order["seconds"] / max(order["rounds"], 1))
    fewer, faster = gain(ratio["rounds"], "fewer", "more"), gain(ratio["time"], "faster", "slower")
    return f"{fewer} rounds, {faster}; a round took as long as {price:.1f} single steps."


def _speed(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"[bold green]{times(ratio)}[/bold green]" if ratio >= 1 else times(ratio)


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
