"""Claim: all time outside `evaluate` is below 5 % of a round whose evaluation takes 20 ms.

Window 64, states of 4 x 64 x 64 float32. The evaluation is a cheap function, followed by waiting, busy, until 20 ms
are over, so that what is left of a round is the engine's own. `copies` puts that beside the memory traffic: the time
outside divided by the time to copy one window of inputs (4 MiB) on this machine, in this run.
"""

from __future__ import annotations

import time

import torch
from harness import median_time, table, write_result
from torch import Tensor

from forerun import Absolute, Affine, Picard, Process, Secant, Sliding, solve
from forerun.engine.methods import Method

WINDOW, SHAPE, EVALUATION = 64, (1, 4, 64, 64), 0.02


class Slow(Process):
    """A contraction whose evaluation takes 20 ms, whatever the batch."""

    batch_dims, length = 1, 640

    def __init__(self, affine: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.shift = 0.1 * torch.randn(SHAPE, generator=generator)
        self.known = affine
        self.seconds = 0.0

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        begun = time.perf_counter()
        outputs = torch.sin(0.5 * inputs + self.shift)
        while time.perf_counter() - begun < EVALUATION:
            pass
        self.seconds += time.perf_counter() - begun
        return outputs

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return torch.add(0.97 * state, output, alpha=0.03)

    def affine(self, steps: Tensor) -> Affine | None:
        if not self.known:
            return None
        return Affine.constant(steps, state=0.97, output=0.03)


def measure(method: Method, affine: bool, check: bool) -> dict[str, object]:
    """One row: time outside the evaluation, per round."""
    process = Slow(affine)
    state = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    begun = time.perf_counter()
    solution = solve(
        process, state, method=method, window=Sliding(WINDOW), tolerance=Absolute(1e-5), check=check
    )  # fmt: skip
    outside = (time.perf_counter() - begun - process.seconds) / solution.rounds
    window = torch.empty(WINDOW, *SHAPE)
    return {
        "method": type(method).__name__, "advance": "affine" if affine else "in order", "check": str(check),
        "rounds": solution.rounds, "outside, ms a round": 1e3 * outside,
        "share of a round, %": 100 * outside / (outside + process.seconds / solution.rounds),
        "copies": outside / median_time(window.clone, 21),
    }  # fmt: skip


def main() -> None:
    """Every method with both ways to advance, the best of three runs each."""
    rows = [
        min((measure(method, affine, check) for _ in range(3)), key=lambda row: row["outside, ms a round"])
        for method in (Picard(), Secant())
        for affine in (False, True)
        for check in (False, True)
    ]
    write_result("the_engine_adds_little", {"What is measured": __doc__ or "", "Time outside evaluate": table(rows)})


if __name__ == "__main__":
    main()
