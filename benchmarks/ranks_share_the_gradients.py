"""Claim: ranks share the gradients of a window; what a round costs besides is small where a gradient takes long.

A loop of 64 steps of Adam, window 8, Picard at 0.03 of a step, on one, two and four local ranks (gloo, torchrun), and
in order. All worlds do the same work, so that time per accepted step tells what the ranks gain.

*waited for*: a gradient takes 150 ms during which this process sleeps, as if a device of the rank's own computed it:
what several devices would gain, the communication between processes of one machine included, and the optimiser's
steps, which are taken on the CPU here, on every rank. *computed*: it is computed on the rank's one thread, in about as
long; ranks beyond the cores of the machine gain nothing there, and other programs on it count. `communicate` and
`advance` are shares of the time: gathering the gradients, and the optimiser's steps; `rest` is packing and measuring.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from harness import table, write_result
from torch import Tensor, nn

from forerun import Distributed, Picard, Sequential, Sliding
from forerun.engine.methods import Method
from forerun.optim import Loop, OneByOne

STEPS, WINDOW, WAIT = 64, 8, 0.15
WORLDS = (1, 2, 4)
PARTS = ("evaluate", "communicate", "advance", "overhead")
SIZES = {"0.2 M": 320, "2 M": 1000}
ROWS = {"0.2 M": 7000, "2 M": 1500}  # of a batch, for some 150 ms


def network(width: int) -> nn.Module:
    """Two hidden layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
        nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4),
    )  # fmt: skip


def timed(width: int, rows: int, *, waiting: bool, method: Method) -> dict[str, Any]:
    """One run on this rank."""

    def loss(model: nn.Module, step: int) -> Tensor:
        if waiting:
            time.sleep(WAIT)
        xs = torch.randn(8 if waiting else rows, 16)
        return (model(xs) - xs[:, :4].sin()).square().mean()

    model = network(width)
    loop = Loop(
        model, torch.optim.Adam(model.parameters(), 1e-4), loss, gradients=OneByOne(), window=Sliding(WINDOW),
        backend=Distributed(), method=method,
    )  # fmt: skip
    running = loop.run(STEPS)
    begun = time.perf_counter()
    solution = running.solution()
    seconds = time.perf_counter() - begun
    parts = solution.seconds
    return {
        "rounds": solution.rounds, "gradients": solution.evaluations, "seconds": seconds,
        "evaluate": parts.evaluate, "communicate": parts.communicate, "advance": parts.advance,
        "overhead": parts.overhead,
    }  # fmt: skip


def rank(path: Path) -> None:
    """What one process does."""
    if int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("gloo")
    found = {}
    for name, width in SIZES.items():
        for waiting in (True, False):
            kind = f"{name} parameters, {'waited for' if waiting else 'computed'}"
            found[kind] = timed(width, ROWS[name], waiting=waiting, method=Picard())
            if os.environ["WORLD_SIZE"] == "1":
                found[f"{kind}: in order"] = timed(width, ROWS[name], waiting=waiting, method=Sequential())
    if os.environ["RANK"] == "0":
        path.write_text(json.dumps(found))
    if dist.is_initialized():
        dist.destroy_process_group()


def launched(world: int) -> dict[str, dict[str, Any]]:
    """The runs of so many ranks, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
        subprocess.run([*command, __file__, str(path)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return found


def row(ranks: int | str, run: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    """A line of the table, beside the run in order."""
    return {
        "ranks": str(ranks), "rounds": run["rounds"], "gradients": run["gradients"],
        "ms per accepted step": 1000 * run["seconds"] / STEPS, "times as fast": order["seconds"] / run["seconds"],
        **{f"{part} %": 100 * run[part] / run["seconds"] for part in PARTS},
    }  # fmt: skip


def main() -> None:
    """One table for every size and kind."""
    worlds = {world: launched(world) for world in WORLDS}
    sections = {"What is measured": __doc__ or ""}
    for name in worlds[max(WORLDS)]:
        order = worlds[1][f"{name}: in order"]
        sections[name] = table(
            [row("in order", order, order), *(row(w, found[name], order) for w, found in worlds.items())]
        )
    write_result("ranks_share_the_gradients", sections)


if __name__ == "__main__":
    if "LOCAL_RANK" in os.environ:
        rank(Path(sys.argv[1]))
    else:
        main()
