"""What `forerun digits` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.style import Style
from rich.text import Text
from torch import Tensor

from forerun.cli.digits.files import digit_pictures, headline
from forerun.cli.digits.job import DigitsOptions, DigitsOutcome
from forerun.cli.kit.machine import machine_line
from forerun.cli.kit.tables import JobFigures, comparison_table, verdict_sentence
from forerun.cli.kit.terminal import console, print_notes

DIGITS_LEGEND = """\
rounds       calls of the network, one after another: what time pays for
evaluations  steps computed in all of them
deviation    from the digits in order: largest of any pixel, rms of the worst
             digit, and the estimate of that which forerun makes by itself;
             pixels lie between -1 and 1
time         median of runs in turn, after a warm-up; in order is the plain
             loop, without forerun
"""


BATCH_ADVICE = """\
Fewer rounds are time saved where a large batch costs little more than a small
one: on a GPU, or with fewer samples. `forerun info` measures it on this machine."""
WORTHWHILE = 2  # speed-up below which the advice is printed


def show_begin(options: DigitsOptions, machine: dict[str, str]) -> None:
    """Print what will be sampled, and where."""
    console.print(
        f"[dim]{options.samples} digits of seed {options.seed}, to {options.tolerance:g} of the sequential run\n"
        f"method {options.method}, window {options.window}; {machine_line(machine)}[/dim]\n"
    )


def show_outcome(outcome: DigitsOutcome) -> None:
    """Print the digits sampled ahead, on a terminal that has colours, and the headline."""
    if console.is_terminal and console.color_system is not None:
        console.print(_half_blocks(digit_pictures(outcome.ahead.state), console.width))
    console.print(f"  {headline(outcome)}\n")


def show_table(jobs: Sequence[JobFigures]) -> None:
    """Print all jobs, a row in order and a row ahead for each, and what the columns mean."""
    console.print(comparison_table(jobs))
    console.print(DIGITS_LEGEND, style="dim")


def show_end(jobs: Sequence[JobFigures], out: Path) -> None:
    """Print what the times mean, what the runs noted, and where the files are."""
    for job in jobs:
        print_notes(job["notes"], job["job"])
    speed_ups = []
    for job in jobs:
        speed_up = job["speed_up"]["time"]
        if speed_up is not None:
            speed_ups.append(speed_up)
            console.print(f"[bold]{job['job']}[/bold]: {verdict_sentence(job)}")
    if speed_ups and min(speed_ups) < WORTHWHILE:
        console.print(BATCH_ADVICE)
    console.print(f"\nIn [bold]{out}[/bold]:")
    for job in jobs:
        pictures = job["pictures"]
        console.print(f"  {pictures['digits']}, {pictures['wavefront']}", soft_wrap=True)
    console.print("  report.md, summary.json")


def _half_blocks(pictures: Tensor, width: int) -> Text:
    """Return as many pictures `(B, height, wide)` side by side as fit, two rows of pixels in a line of half blocks."""
    count = max((width - 2) // (pictures.shape[2] + 2), 1)
    shown = pictures[:count].clamp(-1, 1)
    grey = ((1 - shown) * 127.5).round().int()
    lines = Text()
    for row in range(0, grey.shape[1], 2):
        lines.append("  ")
        for picture in grey.tolist():
            _append_half_blocks(lines, picture[row], picture[row + 1])
            lines.append("  ")
        lines.append("\n")
    return lines


def _append_half_blocks(lines: Text, top_row: list[int], bottom_row: list[int]) -> None:
    for top, bottom in zip(top_row, bottom_row, strict=True):
        style = Style(color=_grey_colour(top), bgcolor=_grey_colour(bottom))
        lines.append("▀", style)


def _grey_colour(level: int) -> str:
    return f"rgb({level},{level},{level})"
