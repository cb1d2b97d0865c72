"""Claim: peak memory is O(window), not O(length).

A path of 1000 steps with states of 4 x 64 x 64 float32 (64 KiB each, 62.5 MiB for the whole path), in a process of its
own for each window; the resident memory after a warm-up run of 10 steps is subtracted from the peak.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import torch
from harness import table, write_result

from forerun import Absolute, Process, Secant, Sliding, solve

STATE_MIB = 4 * 64 * 64 * 4 / 2**20


def peak() -> float:
    """Peak resident memory so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(width: int, check: bool) -> None:
    """Print MiB above the warm state, and rounds."""
    torch.set_num_threads(1)
    shift = 0.1 * torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0))
    state = torch.zeros(4, 64, 64)

    def process(length: int) -> Process:
        return Process.from_step(
            lambda i, x: x + 0.03 * (torch.sin(x + shift) - x), length, batched=True, increment=True
        )  # fmt: skip

    solve(process(10), state, window=Sliding(2), check=check)
    before = peak()
    done = solve(process(1000), state, method=Secant(), window=Sliding(width), tolerance=Absolute(1e-4), check=check)
    print(peak() - before, done.rounds)


def main() -> None:
    """All windows, each in a process of its own."""
    if len(sys.argv) > 1:
        run(int(sys.argv[1]), sys.argv[2] == "True")
        return
    rows = []
    for check in (False, True):
        for width in (8, 32, 128, 1000):
            out = subprocess.run(
                [sys.executable, __file__, str(width), str(check)], capture_output=True, text=True, check=True
            )  # fmt: skip
            mib, rounds = out.stdout.split()
            rows.append({
                "window": width, "check": str(check), "rounds": int(rounds), "peak, MiB": float(mib),
                "in window states": float(mib) / (width * STATE_MIB),
            })  # fmt: skip
    write_result("memory_follows_the_window", {"What is measured": __doc__ or "", "Length 1000": table(rows)})


if __name__ == "__main__":
    main()
