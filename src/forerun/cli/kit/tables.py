"""The tables that commands print: a run in order, the run ahead, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from forerun.view.formatting import format_duration, format_gain, format_ratio

JobFigures = Mapping[str, Any]  # of a job, as summary.json has them
COMPARISON_HEADINGS = ("rounds", "evaluations", "largest\ndeviation", "rms", "estimate", "time", "speed-up")
UNKNOWN = "-"


def new_table(headings: Sequence[str], *, gap: int = 0) -> Table:
    """Return an empty table: a first column of names, and a column of numbers for every heading.

    Args:
        headings: of the columns with numbers.
        gap: blanks after a column.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        header_style="",
    )
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    return table


def comparison_table(jobs: Sequence[JobFigures]) -> Table:
    """Return a table of all jobs: a row in order, where that was run, and a row ahead."""
    table = new_table(COMPARISON_HEADINGS)
    for job in jobs:
        name = job["job"].removesuffix(" steps")
        table.add_row(f"[bold]{name}[/bold]")
        if job["in_order"] is not None:
            table.add_row("  in order", *_in_order_cells(job["in_order"]))
        table.add_row("  ahead", *_ahead_cells(job), end_section=True)
    return table


def verdict_sentence(job: JobFigures) -> str:
    """Return rounds and time in words, with the price of a round that lies between them."""
    in_order, ahead, speed_up = job["in_order"], job["ahead"], job["speed_up"]
    step_seconds = in_order["seconds"] / max(in_order["rounds"], 1)
    round_seconds = ahead["seconds"] / max(ahead["rounds"], 1)
    price = round_seconds / step_seconds
    fewer = format_gain(speed_up["rounds"], "fewer", "more")
    faster = format_gain(speed_up["time"], "faster", "slower")
    return f"{fewer} rounds, {faster}; a round took as long as {price:.1f} single steps."


def _in_order_cells(in_order: Mapping[str, Any]) -> list[str]:
    return [
        str(in_order["rounds"]),
        str(in_order["evaluations"]),
        "",
        "",
        "",
        format_duration(in_order["seconds"]),
    ]


def _ahead_cells(job: JobFigures) -> list[str]:
    ahead = job["ahead"]
    deviation = job["deviation"]
    return [
        f"[bold green]{ahead['rounds']}[/bold green]",
        str(ahead["evaluations"]),
        _deviation_cell(deviation["largest"]),
        _deviation_cell(deviation["rms"]),
        _deviation_cell(deviation["estimate"]),
        _time_cell(ahead["seconds"]),
        _speed_cell(job["speed_up"]["time"]),
    ]


def _deviation_cell(number: float | None) -> str:
    if number is None:
        return UNKNOWN
    return f"{number:.1e}"


def _time_cell(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return format_duration(seconds)


def _speed_cell(ratio: float | None) -> str:
    if ratio is None:
        return UNKNOWN
    text = format_ratio(ratio)
    if ratio < 1:
        return text
    return f"[bold green]{text}[/bold green]"
