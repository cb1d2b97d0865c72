"""Claim: on a virtual clock `Auto` loses at most 5 % in the median, and 15 % at worst, against the best fixed width.

The clock moves only inside `evaluate`: a call of `W` steps takes `c(W)`, and the engine's own time stands still, so
that what is lost is lost by decisions. Calls of the check are on the clock too. A cell is the time of `Auto` over that
of the best fixed width, with the plain loop among them (width 1), less one; and the best width. The second table has
the speed-up over the plain loop, which shall never be below 0.96 at 100 steps and more, and 0.92 at 20.

The first run of its kind has to find out what a round costs; the third begins where the second ended, or declined.

Eight profiles `c(W)`: nothing, all, half and a quarter for every further step; nothing up to 8; the shipped UNet on one
thread of a CPU, and on two that take slices, measured; a UNet on a GPU, assumed.
`python benchmarks/auto_loses_little.py --unchecked` leaves the check out; `--only DDIM` runs the processes whose names
hold that word, and `--widths` prints which widths were taken: both write nothing.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from _virtual_clock import PROCESSES, PROFILES, ClockedBackend, ClockedProcess, Profile, VirtualClock
from harness import table, write_result

from forerun import Auto, Sliding, solve
from forerun.engine.run_memory import RUN_MEMORY
from forerun.engine.windows import Window

RUNS = {"First run": 1, "Third run": 3}  # of a kind: trials are over by the third
WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Cell:
    """What `Auto` comes to for a process and a profile, in single steps.

    Attributes:
        length: of the plain loop.
        seconds: of `Auto`.
        best_seconds: of the best fixed width.
        best_width: that width; 1 is the plain loop.
        widths: of the rounds that `Auto` took, the first ones.
    """

    process: str
    profile: str
    length: int
    seconds: float
    best_seconds: float
    best_width: int
    widths: Sequence[int]

    @property
    def loss(self) -> float:
        """Part of the best time that was lost."""
        return self.seconds / self.best_seconds - 1

    @property
    def speed_up(self) -> float:
        """Over the plain loop."""
        return self.length / self.seconds


def run_clocked(name: str, window: Window, price: Profile, *, check: bool, runs: int = 1) -> list[list[int]]:
    """The widths of all calls of runs on a virtual clock, which begin as in a new process."""
    clock = VirtualClock(price)
    process, state, tolerance = PROCESSES[name]()
    clocked, backend = ClockedProcess(process, clock), ClockedBackend(clock=clock)
    RUN_MEMORY.clear()
    widths = []
    for _ in range(runs):
        solve(clocked, state, window=window, tolerance=tolerance, check=check, backend=backend)
        widths.append(clock.widths)
        clock.widths = []
    return widths


def price_calls(widths: Sequence[int], price: Profile) -> float:
    """The time of some calls."""
    return sum(count * price(width) for width, count in Counter(widths).items())


def measure_process(name: str, *, check: bool) -> Iterator[tuple[str, Cell]]:
    """A cell for every profile and run; every fixed width is run once, and priced for all."""
    length = PROCESSES[name]()[0].length
    fixed_calls = {1: [1] * length}
    for width in WIDTHS:
        if width <= length:
            (fixed_calls[width],) = run_clocked(name, Sliding(width), PROFILES["free"], check=check)
    for profile, price in PROFILES.items():
        seconds_by_width = {width: price_calls(calls, price) for width, calls in fixed_calls.items()}
        best = min(seconds_by_width, key=seconds_by_width.__getitem__)
        runs = run_clocked(name, Auto(), price, check=check, runs=max(RUNS.values()))
        for run_name, number in RUNS.items():
            calls = runs[number - 1]
            seconds = price_calls(calls, price)
            yield run_name, Cell(name, profile, length, seconds, seconds_by_width[best], best, calls[:40])


def loss_rows(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """A row a process, a column a profile: loss in percent, and the best width."""
    rows: dict[str, dict[str, object]] = {}
    for cell in cells:
        row = rows.setdefault(cell.process, {"lost, % (best width)": cell.process})
        row[cell.profile] = f"{100 * cell.loss:.0f} ({cell.best_width})"
    return list(rows.values())


def speed_rows(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """A row a process, a column a profile: the speed-up of `Auto`, and of the best width."""
    rows: dict[str, dict[str, object]] = {}
    for cell in cells:
        row = rows.setdefault(cell.process, {"speed-up (best)": cell.process})
        row[cell.profile] = f"{cell.speed_up:.2f} ({cell.length / cell.best_seconds:.2f})"
    return list(rows.values())


def summary_rows(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """The figures that the claim is about, beside their targets."""
    losses = sorted(cell.loss for cell in cells)
    slowest = {
        "100 steps and more": [cell.speed_up for cell in cells if cell.length >= 100],
        "fewer": [cell.speed_up for cell in cells if cell.length < 100],
    }
    rows: list[dict[str, object]] = [
        {"figure": "lost in the median, %", "measured": 100 * statistics.median(losses), "target": 5},
        {"figure": "lost at worst, %", "measured": 100 * losses[-1], "target": 15},
        {"figure": "cells of more than 15 %", "measured": sum(loss > 0.15 for loss in losses), "target": 0},
    ]
    for (name, speeds), target in zip(slowest.items(), (0.96, 0.92), strict=True):
        if speeds:
            rows.append(
                {"figure": f"slowest against the plain loop, {name}", "measured": min(speeds), "target": target}
            )
    return rows


def main() -> None:
    """All processes and profiles, with the check unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--widths", action="store_true", help="print the widths that Auto took")
    arguments = parser.parse_args()
    cells: dict[str, list[Cell]] = {run_name: [] for run_name in RUNS}
    for name in PROCESSES:
        if arguments.only in name:
            for run_name, cell in measure_process(name, check=not arguments.unchecked):
                cells[run_name].append(cell)
    sections = {"What is measured": __doc__ or ""}
    for run_name, run_cells in cells.items():
        if arguments.widths:
            for cell in run_cells:
                print(run_name, cell.process, cell.profile, f"{100 * cell.loss:.0f} %", *cell.widths)
        sections[f"{run_name}, against the targets"] = table(summary_rows(run_cells))
        sections[f"{run_name}, lost against the best fixed width"] = table(loss_rows(run_cells))
        sections[f"{run_name}, speed-up over the plain loop"] = table(speed_rows(run_cells))
    if arguments.only or arguments.widths:
        print("\n\n".join(f"{heading}\n{text}" for heading, text in list(sections.items())[1:]))
        return
    suffix = "_unchecked" if arguments.unchecked else ""
    write_result(f"{Path(__file__).stem}{suffix}", sections)


if __name__ == "__main__":
    main()
