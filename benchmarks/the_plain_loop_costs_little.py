"""Claim: a loop that cannot gain is not slower than 0.9 times the plain `for`: README's first loop, and longer ones.

The loop of the README, `x + 0.02 (tanh(W x) - 0.1 x)` on 32 numbers, by process CPU time, in turn with the plain `for`
of 300, 3,000 and 30,000 steps: `solve` as it is (with the check and the witness), with `Sequential()`, and a path of
one step, which is what setting up and summing up a run costs. Medians over the pairs. Missed at all lengths: a
path of one step alone takes more than is allowed at 300, and at 30,000 some 3 us a step remain, not yet explained.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from harness import table, write_result
from torch import Tensor

from forerun import Absolute, Process, Sequential, solve
from forerun.engine.run_memory import RUN_MEMORY


def measure_seconds(function: Callable[[], object]) -> float:
    """Process CPU seconds of one call."""
    begun = time.process_time()
    function()
    return time.process_time() - begun


def measure_loop(length: int, pairs: int) -> Iterator[dict[str, object]]:
    """One row a way to run the loop."""
    torch.manual_seed(0)
    weight, start = torch.randn(32, 32) / 8, torch.randn(32)

    def step(i: Tensor | int, x: Tensor) -> Tensor:
        return x + 0.02 * (torch.tanh(weight @ x) - 0.1 * x)

    def run_plain() -> None:
        x = start
        for i in range(length):
            x = step(i, x)

    process = Process.from_step(step, length, increment=True)
    rivals = {
        "solve": lambda: solve(process, start, tolerance=Absolute(1e-4)),
        "Sequential()": lambda: solve(process, start, method=Sequential()),
    }
    for name, rival in rivals.items():
        RUN_MEMORY.clear()
        first = measure_seconds(run_plain) / measure_seconds(rival)
        times = [(measure_seconds(run_plain), measure_seconds(rival)) for _ in range(pairs)]
        yield {
            "steps": length, "run": name, "plain, ms": 1e3 * statistics.median(plain for plain, _ in times),
            "run, ms": 1e3 * statistics.median(seconds for _, seconds in times),
            "plain over run": statistics.median(plain / seconds for plain, seconds in times), "first run": first,
        }  # fmt: skip


def main() -> None:
    """All lengths."""
    rows = [
        row for length, pairs in ((1, 100), (300, 60), (3000, 20), (30000, 5)) for row in measure_loop(length, pairs)
    ]
    write_result(Path(__file__).stem, {"What is measured": __doc__ or "", "Plain loops": table(rows)})


if __name__ == "__main__":
    main()
