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
from forerun.diffusion import load_digits_denoiser
from forerun.view.report import duration

BATCHES = (1, 8, 64, 512)
BUDGET = 0.25  # seconds to spend on each


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
    costs = {size: cost(size, place) for size in BATCHES}
    table = Table(box=box.SIMPLE_HEAD, title=f"the digits' denoiser on {place}", title_justify="left", title_style="bold")
    for heading in ("steps in a call", "time", "single calls' worth of time", "batch efficiency"):
        table.add_column(heading, justify="right")
    for size, seconds in costs.items():
        ratio = seconds / costs[1]
        table.add_row(str(size), duration(seconds), f"{ratio:.1f}", f"{size / ratio:.1f}")
    console.print(table)
    best = max(BATCHES, key=lambda size: size / costs[size])
    console.print(
        f"A call of {best} steps costs {costs[best] / costs[1]:.1f} single calls: up to {best * costs[1] / costs[best]:.0f} "
        "times as much work in a second.\nRunning ahead pays where that is more than its inflation, the evaluations "
        "per step: mostly 2 to 4.\n`forerun sample` shows what is left of it in a whole run."
    )


def _show(title: str, found: dict[str, str]) -> None:
    table = Table(box=box.SIMPLE, show_header=False, title=title, title_justify="left", title_style="bold")
    table.add_column(min_width=17)
    table.add_column(overflow="fold")
    for name, value in found.items():
        table.add_row(name, f"[yellow]{value}[/yellow]" if value.startswith("missing") else value)
    console.print(table)


@torch.no_grad()
def cost(size: int, device: torch.device) -> float:
    """Seconds of one call of the digits' denoiser with `size` samples: the quickest, as all else is the machine's."""
    denoiser = load_digits_denoiser().to(device)
    denoiser.schedule = denoiser.schedule.to(device)
    inputs = torch.randn(size, 64, generator=torch.Generator().manual_seed(0)).to(device)
    steps = torch.arange(size, device=device) % 1000
    quickest, end = float("inf"), time.perf_counter() + BUDGET
    while time.perf_counter() < end:
        begun = time.perf_counter()
        denoiser(inputs, steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        quickest = min(quickest, time.perf_counter() - begun)
    return quickest
