"""Claim: on a CPU of two cores `make demo` ends 1.5 times as fast as the pipeline's own run, with the same image.

(a) The command of `make demo`, in a process of its own each time, so that nothing is remembered: DDPM of 1000 steps of
    the shipped text-to-image pipeline, window `auto`. The run in order uses the number of threads that one of its steps
    is quickest with; both keep the memory that the network frees. Seconds are wall-clock, of the whole call from the
    text to the image; a machine that is not idle shows in them.
(b) A call of its UNet by the steps in it, two rows a step, smallest of several times in milliseconds: with the memory
    of the C library as it is, with freed memory kept, and then in slices on two threads; and the batch efficiency of
    the last, `W c(1) / c(W)`, with `c(1)` of one step in one thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from harness import table, write_result
from torch import Tensor

from forerun.cli.kit.allocator import keep_freed_memory
from forerun.engine.backends import Backend, Local, Threads
from forerun.worlds.scenes.counted_run import shipped_pipeline

COMMAND = ("sample", "a red torus left of a blue cube", "--scheduler", "DDPM", "--steps", "1000", "--window", "auto")
RUNS, REPEATS = 3, 9
WIDTHS = (1, 2, 4, 8, 16, 32, 48, 64, 100)
TARGET = 1.5

Rows = Callable[[Tensor, Tensor], Tensor]


def run_demo() -> Mapping[str, Any]:
    """The figures of the command, run once in a process of its own with all cores."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "forerun", *COMMAND, "--out", folder]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        (job,) = json.loads((Path(folder) / "summary.json").read_text())["jobs"]
    return {
        "in order, s": job["in_order"]["seconds"],
        "its threads": job["in_order"]["threads"],
        "ahead, s": job["ahead"]["seconds"],
        "speed-up": job["speed_up"]["time"],
        "rounds": job["ahead"]["rounds"],
        "evaluations": job["ahead"]["evaluations"],
        "largest deviation": job["deviation"]["largest"],
        "pixels apart, of 255": job["deviation"]["pixels"],
        "target": TARGET,
    }


def network_call() -> Rows:
    """The shipped UNet on some steps, with and without the text."""
    unet, text = shipped_pipeline().unet, torch.randn(1, 16, 96)

    @torch.no_grad()
    def call(steps: Tensor, rows: Tensor) -> Tensor:
        samples = rows.reshape(-1, 4, 16, 16).repeat(2, 1, 1, 1)
        context = text.expand(len(samples), -1, -1)
        output: Tensor = unet(samples, steps.repeat(2), encoder_hidden_states=context, return_dict=False)[0]
        return output[: len(steps)].flatten(1)

    return call


def measure_calls(call: Rows, backend: Backend) -> dict[int, float]:
    """Milliseconds of a call of each width, the smallest of several."""
    smallest = dict.fromkeys(WIDTHS, float("inf"))
    run = backend.begin_run()
    for _ in range(REPEATS):
        for width in WIDTHS:
            steps, rows = torch.arange(width), torch.randn(width, 1024)
            begin = time.perf_counter()
            run.evaluate(call, steps, rows, 0.0)
            smallest[width] = min(smallest[width], 1000 * (time.perf_counter() - begin))
    return smallest


def compare_calls() -> list[dict[str, object]]:
    """A row a width."""
    call = network_call()
    as_it_is = measure_calls(call, Local())
    keep_freed_memory()
    kept, sliced = measure_calls(call, Local()), measure_calls(call, Threads(2))
    return [
        {
            "steps in a call": width,
            "ms": as_it_is[width],
            "memory kept": kept[width],
            "two threads": sliced[width],
            "batch efficiency": width * kept[1] / sliced[width],
        }
        for width in WIDTHS
    ]


def main() -> None:
    """Both tables."""
    calls = compare_calls()
    demo = [run_demo() for _ in range(RUNS)]
    sections = {"What is measured": __doc__ or "", "(a) The demo": table(demo), "(b) A call": table(calls)}
    write_result("the_demo_is_faster", sections)


if __name__ == "__main__":
    main()
