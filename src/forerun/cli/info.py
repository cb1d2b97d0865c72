"""`forerun info`: what is installed, what the machine has, and whether running ahead can pay on it."""

from __future__ import annotations

import time
from typing import Annotated

import torch
import typer
from rich import box
from rich.table import Table

from forerun.cli import words
from forerun.cli.machine import hardware, installed
from forerun.cli.terminal import console, refusing
from forerun.view.formatting import format_duration
from forerun.worlds.digits import load_digits_denoiser

BATCHES = (1, 8, 64, 512)
BUDGET = 1.0  # seconds to measure for


def info(
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Say what is installed, what this machine has, and whether running ahead can pay on it."""
    torch.set_num_threads(threads)
    with refusing():
        place = words.device(device)
    for title, found in (("installed", installed()), ("machine", hardware())):
        _show(title, found)
    costs = measure(place)
    console.print(f"[bold]the digits' denoiser on {place}[/bold]")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="")
    for heading in ("steps in a call", "time", "in single calls", "batch efficiency"):
        table.add_column(heading, justify="right")
    for size, seconds in costs.items():
        ratio = seconds / costs[1]
        table.add_row(str(size), format_duration(seconds), f"{ratio:.1f}", f"{size / ratio:.1f}")
    console.print(table)
    console.print(_advice(costs))


def _advice(costs: dict[int, float]) -> str:
    best = max(costs, key=lambda size: size / costs[size])
    price = costs[best] / costs[1]
    return (
        f"A call of {best} steps takes as long as {price:.1f} calls of one step: a batch efficiency of "
        f"{best / price:.0f}. Running one sample ahead can be faster by that over its inflation, the evaluations per "
        "step (mostly 2 to 4), less what forerun itself takes; several samples fill a batch by themselves. "
        "`forerun digits` shows the outcome."
    )


def _show(title: str, found: dict[str, str]) -> None:
    console.print(f"[bold]{title}[/bold]")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(min_width=17)
    table.add_column(overflow="fold")
    for name, value in found.items():
        table.add_row(name, f"[yellow]{value}[/yellow]" if value.startswith("missing") else value)
    console.print(table)
    console.print()


@torch.no_grad()
def measure(device: torch.device) -> dict[int, float]:
    """Seconds of a call of the digits' denoiser by its batch; the quickest of many, all sizes in turn."""
    denoiser = load_digits_denoiser().to(device)
    denoiser.schedule = denoiser.schedule.to(device)
    generator = torch.Generator().manual_seed(0)
    inputs = {size: torch.randn(size, 64, generator=generator).to(device) for size in BATCHES}
    quickest, end = dict.fromkeys(BATCHES, float("inf")), time.perf_counter() + BUDGET
    while time.perf_counter() < end:
        for size, rows in inputs.items():
            steps = torch.arange(size, device=device)
            for _ in range(3):  # the first call of a size finds the cache full of another
                begun = time.perf_counter()
                denoiser(rows, steps)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                quickest[size] = min(quickest[size], time.perf_counter() - begun)
    return quickest
