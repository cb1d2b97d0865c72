"""`forerun info`: what is installed, what the machine has, and whether running ahead can pay on it."""

from __future__ import annotations

import time

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from forerun.cli import words
from forerun.cli.kit import options as kit
from forerun.cli.kit.machine import hardware_facts, installed_packages
from forerun.cli.kit.terminal import console, refusing_input
from forerun.diffusion.denoising import Denoiser
from forerun.view.formatting import format_duration
from forerun.worlds.digits import load_digits_denoiser

BATCH_SIZES = (1, 8, 64, 512)
MEASURING_SECONDS = 1.0
CALLS_IN_TURN = 3  # the first call of a size finds the cache full of another
COST_HEADINGS = ("steps in a call", "time", "in single calls", "batch efficiency")


def info(
    threads: kit.ThreadsOption = kit.DEFAULT_THREADS,
    device: kit.DeviceOption = kit.DEFAULT_DEVICE,
) -> None:
    """Say what is installed, what this machine has, and whether running ahead can pay on it."""
    torch.set_num_threads(threads)
    with refusing_input():
        torch_device = words.find_device(device)
    _show_facts("installed", installed_packages())
    _show_facts("machine", hardware_facts())
    costs = measure_batch_costs(torch_device)
    console.print(f"[bold]the digits' denoiser on {torch_device}[/bold]")
    console.print(_cost_table(costs))
    console.print(_advice(costs))


def _cost_table(costs: dict[int, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="")
    for heading in COST_HEADINGS:
        table.add_column(heading, justify="right")
    for size, seconds in costs.items():
        single_calls = seconds / costs[1]
        efficiency = size / single_calls
        table.add_row(str(size), format_duration(seconds), f"{single_calls:.1f}", f"{efficiency:.1f}")
    return table


def _advice(costs: dict[int, float]) -> str:
    best = max(costs, key=lambda size: size / costs[size])
    price = costs[best] / costs[1]
    return (
        f"A call of {best} steps takes as long as {price:.1f} calls of one step: a batch efficiency of "
        f"{best / price:.0f}. Running one sample ahead can be faster by that over its inflation, the evaluations per "
        "step (mostly 2 to 4), less what forerun itself takes; several samples fill a batch by themselves. "
        "`forerun digits` shows the outcome."
    )


def _show_facts(title: str, facts: dict[str, str]) -> None:
    console.print(f"[bold]{title}[/bold]")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(min_width=17)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, _colour_missing(value))
    console.print(table)
    console.print()


def _colour_missing(value: str) -> str:
    if value.startswith("missing"):
        return f"[yellow]{value}[/yellow]"
    return value


@torch.no_grad()
def measure_batch_costs(device: torch.device) -> dict[int, float]:
    """Return seconds of a call of the digits' denoiser by its batch; the quickest of many, all sizes in turn."""
    denoiser = load_digits_denoiser().to(device)
    denoiser.schedule = denoiser.schedule.to(device)
    generator = torch.Generator().manual_seed(0)
    inputs = {size: torch.randn(size, 64, generator=generator).to(device) for size in BATCH_SIZES}
    quickest = dict.fromkeys(BATCH_SIZES, float("inf"))
    end = time.perf_counter() + MEASURING_SECONDS
    while time.perf_counter() < end:
        for size, rows in inputs.items():
            quickest[size] = min(quickest[size], _time_calls(denoiser, rows))
    return quickest


def _time_calls(denoiser: Denoiser, rows: Tensor) -> float:
    """Return the seconds of the quickest of a few calls."""
    steps = torch.arange(len(rows), device=rows.device)
    quickest = float("inf")
    for _ in range(CALLS_IN_TURN):
        begin = time.perf_counter()
        denoiser(rows, steps)
        if rows.device.type == "cuda":
            torch.cuda.synchronize(rows.device)
        quickest = min(quickest, time.perf_counter() - begin)
    return quickest
