"""Claim: what holds for a robot's arm holds for Push-T: sampled ahead, the policy does as well in far fewer rounds.

A policy trained by `forerun train-policy push-t` on demonstrations of an expert that tries its pushes in a simulation:
chunks of 16 places for the disc, of which 8 are executed, in gym-pusht with 300 steps an episode. All runs get the same
episodes, which no demonstration has, and the same seeds of the noise.

`success` is gym-pusht's: more than 95 % of the place covered. `best` is the usual measure (Chi et al., arXiv
2303.04137): the largest reward of an episode, the share covered over 95 %, at most 1; its mean. The rest is as in
`robots_succeed_ahead.py`. The tolerance of what is sampled ahead is 1e-2.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from typing import Any

from _policies import cached_cell
from harness import table, write_result
from robots_succeed_ahead import BLOCK, RUNS, cell, row

from forerun.worlds.robots.tasks import PUSH_T

WANTED = (
    "DDPM 100, in order", "DDPM 100, ParaDiGMS' rule, window 20", "DDPM 100, exact", "DDPM 100, warm",
    "DDIM 100, in order", "DDIM 10, in order",
)  # fmt: skip


def main() -> None:
    """Blocks in turn, so that a slow spell of the machine hits all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=100)
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {run: [] for run in WANTED}
    for block in range(options.episodes // BLOCK):
        for run, episodes in found.items():
            episodes += cached_cell(f"push-t, {run}, {block}", partial(cell, PUSH_T, RUNS[run], block))
        print("block", block, {run: sum(each["success"] for each in some) for run, some in found.items()}, flush=True)
    rows = []
    for run, episodes in found.items():
        figures = row(run, episodes)
        best = round(statistics.fmean(each["best"] for each in episodes), 3)
        rows.append({"run": run, "success": figures["success"], "95 %": figures["95 %"], "best": best, **figures})
    write_result("push_t_succeeds_ahead", {"What is measured": __doc__ or "", "push-t": table(rows)})


if __name__ == "__main__":
    main()
