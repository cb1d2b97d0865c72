"""What the benchmarks share: the environment, timing of two rivals in turn, aligned tables, dated results.

A benchmark is a file named after the claim it checks. It prints nothing that it does not also write: its last line is

    write_result("secant_needs_fewer_rounds", {"DDIM 100": table(rows), ...})
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from forerun.cli.kit.machine import processor_name

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

torch.set_num_threads(1)


def environment() -> dict[str, str]:
    """Where, when and with what a result was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "command": command(),
        "commit": commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "processor": f"{processor_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) in use",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}",
    }


def command() -> str:
    """The command line of this run, relative to the repository."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    return " ".join(["python", str(name), *sys.argv[1:]])


def commit() -> str:
    """The commit, and whether tracked files differ from it; `unknown` outside a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}, with uncommitted changes" if changed else head


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """An aligned markdown table; the columns are the keys of the rows, in the order they first come.

    Floats get three significant digits, and numbers stand to the right. A missing entry is left empty.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(3, *(len(line[k]) for line in cells)) for k in range(len(columns))]
    right = [all(isinstance(row.get(column), int | float | None) for row in rows) for column in columns]
    rule = ["-" * (width - 1) + (":" if number else "-") for width, number in zip(widths, right, strict=True)]
    aligned = [
        [cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(*parts, strict=True)]
        for parts in ((line, widths, right) for line in cells)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [aligned[0], rule, *aligned[1:]])


def write_result(name: str, sections: Mapping[str, str], *, folder: Path = RESULTS) -> Path:
    """Write and print `<folder>/<name>.md`: the environment, then every section under its heading."""
    facts = "\n".join(f"- {key}: {value}" for key, value in environment().items())
    body = "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in sections.items())
    page = f"# {name.replace('_', ' ')}\n\n{facts}\n\n{body}\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(page)
    print(page)
    return path


def median_time(function: Callable[[], object], repeats: int = 9) -> float:
    """Median wall-clock seconds of one call, after one call that is not counted."""
    _timed(function)
    return statistics.median(_timed(function)[0] for _ in range(repeats))


def medians_in_turn(
    rivals: Mapping[str, Callable[[], object]], repeats: int = 5, *, of_processor: bool = False
) -> dict[str, float]:
    """Median wall-clock seconds of each of several rivals, run in turn, so that a slow spell hits all of them.

    Each is called once beforehand. `of_processor` takes the CPU time of the process in its place, which neighbours on
    the machine disturb less.
    """
    for rival in rivals.values():
        _timed(rival)
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, rival in rivals.items():
            times[name].append(_timed(rival)[int(of_processor)])
    return {name: statistics.median(found) for name, found in times.items()}


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of several measurements."""

    smallest: float
    median: float
    largest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.smallest:.2f} .. {self.largest:.2f})"


@dataclass(frozen=True)
class Ratio:
    """Time of the first rival over time of the second: above one, the second is faster."""

    wall: Spread
    cpu: Spread


def paired_ratio(first: Callable[[], object], second: Callable[[], object], repeats: int = 7) -> Ratio:
    """Time two rivals in turn, first second first second, so that a slow spell of the machine hits both.

    Each is called once beforehand. CPU time is the process's own, over all its threads.
    """
    _timed(first), _timed(second)
    pairs = [(_timed(first), _timed(second)) for _ in range(repeats)]
    wall, cpu = ([a[clock] / b[clock] for a, b in pairs] for clock in (0, 1))
    return Ratio(*(Spread(min(values), statistics.median(values), max(values)) for values in (wall, cpu)))


def _timed(function: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and process CPU seconds of one call, the work it left on a GPU included."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
