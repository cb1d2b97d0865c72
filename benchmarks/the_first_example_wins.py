"""Claim: the first loop of the README is faster ahead than as a plain `for`, on one CPU thread, checked and witnessed.

The code of the README is taken from its page and run as it stands; then the plain loop and `solve` are timed in turn.
A step multiplies two large matrices with one vector, which waits for memory; so a call for many steps costs little
more than one: a window of 32, as the README has it, and `Auto`, which measures what a round costs on its way.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from harness import ROOT, paired_ratio, table, write_result

from forerun import Absolute, Solution, solve

REPEATS = 5


def read_example() -> str:
    """Return the code of the README's first loop of one's own, up to its first solve."""
    page = (ROOT / "README.md").read_text()
    section = page.split("## Any loop", 1)[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None, "the README has no code under 'Any loop'"
    return code.group(1).split("solution = solve(")[0]


def main() -> None:
    """Time the loop and the solve, in turn."""
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(read_example(), names)
    step, start, process = names["step"], names["start"], names["process"]

    def run_loop() -> torch.Tensor:
        x = start
        for i in range(process.length):
            x = step(i, x)
        return x

    rows = []
    for name, options in (("32", {"window": 32}), ("Auto", {})):

        def run_ahead(options: Any = options) -> Solution:
            return solve(process, start, tolerance=Absolute(1e-4), **options)

        ratio = paired_ratio(run_loop, run_ahead, repeats=REPEATS)
        solution = run_ahead()
        deviation = float((solution.state - run_loop()).abs().max())
        rows.append(
            {
                "window": name, "steps": process.length, "rounds": solution.rounds,
                "evaluations": solution.evaluations, "checked besides": solution.check_evaluations,
                "largest deviation": deviation, "wall": str(ratio.wall), "CPU": str(ratio.cpu),
            }
        )  # fmt: skip
    sections = {"What is measured": __doc__ or "", "Time of the loop over time ahead": table(rows)}
    write_result(Path(__file__).stem, sections)


if __name__ == "__main__":
    main()
