"""Claim: a diffusion policy that samples ahead succeeds as often as in order, with far fewer calls one after another.

Trained policies of 0.3 M parameters (`forerun train-policy`) move Meta-World's Sawyer arm by chunks of 16 actions of
which 8 are executed; success ends an episode. All runs get the same episodes, which no demonstration has, and the same
seeds of the noise. `pick-place` is the main task, `peg-insert` the hard one; in `pillar` the object is carried round a
pillar on either side, as two-way demonstrations show, and the hand fails that touches it.

The tolerance of what is sampled ahead is 1e-2. Rounds and evaluations are means a chunk. CPU ms are
the median and the 99th percentile of the CPU time of one thread
from an observation to its chunk, over all ticks of all episodes: the machine had other work, so that the wall's clock
would compare spells rather than rivals (`policies_answer_sooner` has it, tick by tick in turn). A deadline is kept by
the wall's clock; those runs were made while the machine had little else to do.
RTI is real-time iteration (arXiv 2508.05396): a gripper that is open or closed is divided by ten in the
training, or the guess is clipped; the paper executes one action of a chunk. The interval is Wilson's, 95 %. Cells of
ten episodes are kept in forerun-out/cells: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from _policies import (
    AheadRival,
    ParadigmsRival,
    PlainRival,
    PolicyRival,
    cached_cell,
    cell_file,
    ddim,
    load_policy,
    run_rival,
)
from harness import table, write_result

from forerun.policy import RTI, Deadline, Exact, Mode, Warm
from forerun.worlds.robots import tasks
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.episodes import success_interval
from forerun.worlds.robots.policy import ChunkPolicy

BLOCK = 10  # episodes of a cell
GRIPPER = (3,)  # the number of an action that is open or closed


@dataclass(frozen=True)
class Run:
    """A rival, and what differs from the usual.

    Args:
        make: the rival, from a policy and the seed of its noise.
        policy: another than the task's.
        executed: actions of a chunk.
        signs: the gripper comes as -1 or 1.
    """

    make: Callable[[ChunkPolicy, int], PolicyRival]
    policy: str | None = None
    executed: int = 8
    signs: bool = False


def ahead(mode: Mode, executed: int = 8) -> Callable[[ChunkPolicy, int], PolicyRival]:
    """DDPM with 100 steps in a mode."""
    return lambda p, seed: AheadRival(p, p.scheduler, 100, seed, mode=mode, executed=executed)


RUNS: dict[str, Run] = {
    "DDPM 100, in order": Run(lambda p, seed: PlainRival(p, p.scheduler, 100, seed)),
    "DDPM 100, ParaDiGMS' rule, window 20": Run(lambda p, seed: ParadigmsRival(p, p.scheduler, 100, seed, window=20)),
    "DDPM 100, exact": Run(ahead(Exact())),
    "DDPM 100, warm": Run(ahead(Warm())),
    "DDPM 100, deadline 5 ms": Run(ahead(Deadline(5))),
    "DDPM 100, deadline 10 ms": Run(ahead(Deadline(10))),
    "DDPM 100, deadline 20 ms": Run(ahead(Deadline(20))),
    "DDIM 100, in order": Run(lambda p, seed: PlainRival(p, ddim(p), 100, seed)),
    "DDIM 100, exact": Run(lambda p, seed: AheadRival(p, ddim(p), 100, seed, mode=Exact())),
    "DDIM 100, warm": Run(lambda p, seed: AheadRival(p, ddim(p), 100, seed, mode=Warm())),
    "DDIM 15, in order": Run(lambda p, seed: PlainRival(p, ddim(p), 15, seed)),
    "DDIM 10, in order": Run(lambda p, seed: PlainRival(p, ddim(p), 10, seed)),
    "DDIM 10, exact": Run(lambda p, seed: AheadRival(p, ddim(p), 10, seed, mode=Exact())),
    "gripper / 10, in order": Run(lambda p, seed: PlainRival(p, p.scheduler, 100, seed), "pick-place-gripper-10"),
    "gripper / 10, RTI 3 steps": Run(ahead(RTI(3, GRIPPER)), "pick-place-gripper-10", signs=True),
    "gripper / 10, RTI 3 steps, 1 executed": Run(ahead(RTI(3, GRIPPER), 1), "pick-place-gripper-10", 1, signs=True),
    "RTI 3 steps, clip": Run(ahead(RTI(3, GRIPPER, clip=True)), signs=True),
    "RTI 3 steps, clip, 1 executed": Run(ahead(RTI(3, GRIPPER, clip=True), 1), executed=1, signs=True),
}
CLIPPED = ("RTI 3 steps, clip", "RTI 3 steps, clip, 1 executed")
MAIN_ONLY = (
    "DDIM 100, exact", "DDIM 100, warm", "DDIM 15, in order", "DDIM 10, exact", "gripper / 10, in order",
    "gripper / 10, RTI 3 steps", "gripper / 10, RTI 3 steps, 1 executed",
)  # fmt: skip
FEW = tuple(run for run in RUNS if run not in MAIN_ONLY)
FEWER = tuple(run for run in FEW if run not in {"DDPM 100, deadline 5 ms", "DDPM 100, deadline 20 ms"})
TASKS: dict[str, tuple[RobotTask, Sequence[str]]] = {  # the main task has a policy of its own for RTI
    "pick-place": (tasks.PICK_PLACE, tuple(run for run in RUNS if run not in CLIPPED)),
    "pillar": (tasks.PILLAR, FEW),
    "peg-insert": (tasks.PEG_INSERT, FEWER),
}
HALF = {  # runs of half the episodes, to keep the whole short
    "pillar": (*(run for run in RUNS if "deadline" in run), *CLIPPED),
    "peg-insert": ("DDPM 100, deadline 10 ms", *CLIPPED),
}


def main() -> None:
    """A table a task; blocks in turn, so that a slow spell of the machine hits all runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--cached", action="store_true", help="a table of the cells that there are; nothing is run")
    options = parser.parse_args()
    sections = {"What is measured": __doc__ or ""}
    for name in options.tasks:
        task, runs = TASKS[name]
        found: dict[str, list[dict[str, Any]]] = {run: [] for run in runs}
        for block in range(options.episodes // BLOCK):
            for run in runs:
                if run in HALF.get(name, ()) and 2 * block * BLOCK >= options.episodes:
                    continue
                key = f"{name}, {run}, {block}"
                if not options.cached or cell_file(key).exists():
                    found[run] += cached_cell(key, partial(cell, task, RUNS[run], block))
            print(
                name, "block", block, {run: sum(e["success"] for e in each) for run, each in found.items()}, flush=True
            )
        sections[name] = table([row(run, each) for run, each in found.items() if each])
    write_result("robots_succeed_ahead", sections)


def cell(task: RobotTask, run: Run, block: int) -> list[dict[str, Any]]:
    """Ten episodes of one run."""
    policy = load_policy(run.policy or task.name)
    seeds = range(block * BLOCK, (block + 1) * BLOCK)
    return run_rival(task, policy, run.make(policy, block), seeds, executed=run.executed, signs=run.signs)


def row(run: str, found: list[Mapping[str, Any]]) -> dict[str, Any]:
    """All episodes of one run."""
    count, wins = len(found), sum(each["success"] for each in found)
    rounds, evaluations, _, times = zip(*(tick for each in found for tick in each["ticks"]), strict=True)
    low, high = success_interval(wins, count)
    times = torch.tensor(times)
    return {
        "run": run,
        "success": f"{wins}/{count}",
        "95 %": f"{100 * low:.0f}-{100 * high:.0f}",
        "reward": round(statistics.fmean(each["reward"] for each in found), 2),
        "steps": round(statistics.fmean(each["steps"] for each in found), 1),
        "rounds": round(statistics.fmean(rounds), 1),
        "evaluations": round(statistics.fmean(evaluations)),
        "CPU ms": 1000 * float(times.median()),
        "99th": 1000 * float(times.quantile(0.99)),
    }


if __name__ == "__main__":
    main()
