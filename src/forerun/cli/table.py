"""The table that commands print: a run in order, the run ahead, and what lies between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from forerun.view.formatting import format_duration, format_gain, format_ratio

Figures = Mapping[str, Any]  # of a job, as summary.json has them
HEADINGS = ("rounds", "evaluations", "largest\ndeviation", "rms", "estimate", "time", "speed-up")


def compared(jobs: Sequence[Figures]) -> Table:
    """All jobs: a row in order, where that was run, and a row ahead."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="")
    table.add_column("")
    for heading in HEADINGS:
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for job in jobs:
        order, ahead, deviation = job["in_order"], job["ahead"], job["deviation"]
        table.add_row(f"[bold]{job['job'].removesuffix(' steps')}[/bold]")
        if order is not None:
            work = (str(order[name]) for name in ("rounds", "evaluations"))
            table.add_row("  in order", *work, "", "", "", format_duration(order["seconds"]))
        table.add_row(
            "  ahead",
            f"[bold green]{ahead['rounds']}[/bold green]",
            str(ahead["evaluations"]),
            *(_power(deviation[name]) for name in ("largest", "rms", "estimate")),
            "-" if ahead["seconds"] is None else format_duration(ahead["seconds"]),
            _speed(job["speed_up"]["time"]),
            end_section=True,
        )
    return table


def verdict(job: Figures) -> str:
    """Rounds and time in words, with the price of a round that lies between them."""
    order, ahead, ratio = job["in_order"], job["ahead"], job["speed_up"]
    price = (ahead["seconds"] / max(ahead["rounds"], 1)) / (order["seconds"] / max(order["rounds"], 1))
    fewer, faster = format_gain(ratio["rounds"], "fewer", "more"), format_gain(ratio["time"], "faster", "slower")
    return f"{fewer} rounds, {faster}; a round took as long as {price:.1f} single steps."


def _power(number: float | None) -> str:
    return "-" if number is None else f"{number:.1e}"


def _speed(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"[bold green]{format_ratio(ratio)}[/bold green]" if ratio >= 1 else format_ratio(ratio)
