"""Claim: time outside `evaluate` is below 5 % of a round of 20 ms for wide rows, and below 0.2 ms for short ones.

Wide rows: window 64, states of 4 x 64 x 64 float32. The evaluation is a cheap function, followed by waiting, busy,
until 20 ms of the processor are over, so that what is left of a round is the engine's own. `copies` puts that beside
the memory traffic: the time outside divided by the time to copy one window of inputs (4 MiB) on this machine, in this
run.

Short rows: states of 64 numbers, 400 steps of a small recurrent network, whose own time is taken off.

Times are those of the processor, the least of several runs. `plain` is without check and witness; `witness` and `check`
are what either adds, and `calls besides` the calls of `evaluate` that it makes outside the rounds, a run: their time is
the evaluation's. `native` runs the kernels compiled by numba; without them torch computes.
"""

from __future__ import annotations

import time

import torch
from harness import table, write_result
from torch import Tensor

from forerun import Absolute, Affine, Picard, Process, Secant, Sliding, solve
from forerun.engine.methods import Method
from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.step_witness import PROCESS_MEMORY

WINDOW, SHAPE, EVALUATION = 64, (1, 4, 64, 64), 0.02
VARIANTS = {
    "plain": {"check": False, "witness": False},
    "witness": {"check": False, "witness": True},
    "check": {"check": True, "witness": False},
}


class Slow(Process):
    """A contraction whose evaluation takes 20 ms, whatever the batch."""

    batch_dims, length = 1, 640

    def __init__(self, affine: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.shift = 0.1 * torch.randn(SHAPE, generator=generator)
        self.known = affine
        self.seconds, self.calls = 0.0, 0

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        begun = time.process_time()
        outputs = torch.sin(0.5 * inputs + self.shift)
        while time.process_time() - begun < EVALUATION:
            pass
        self.seconds += time.process_time() - begun
        self.calls += 1
        return outputs

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return torch.add(0.97 * state, output, alpha=0.03)

    def affine(self, steps: Tensor) -> Affine | None:
        if not self.known:
            return None
        return Affine.constant(steps, state=0.97, output=0.03)


class Recurrent(Process):
    """A small recurrent network with the increment as output."""

    length = 400

    def __init__(self) -> None:
        self.weight = 0.3 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) / 8
        self.seconds, self.calls = 0.0, 0

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        self.calls += 1
        return 0.02 * torch.tanh(inputs @ self.weight) - 0.01 * inputs + 0.001 * torch.sin(steps * 1.0)[:, None]

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return state + output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=1.0, output=1.0)

    def seconds_of_call(self, width: int) -> float:
        """The least time of one call, to be taken off."""
        steps, inputs = torch.arange(width), torch.randn(width, 64)
        times = []
        for _ in range(30):
            begun = time.process_time()
            for _ in range(20):
                self.evaluate(steps, inputs)
            times.append((time.process_time() - begun) / 20)
        return min(times)


def measure(process: Slow | Recurrent, state: Tensor, repeats: int, call: float = 0.0, **options: object) -> dict:
    """Milliseconds outside evaluate, a round, of every variant: the least of some runs; and calls besides."""
    outside = dict.fromkeys(VARIANTS, float("inf"))
    besides, rounds = {}, 0
    for _ in range(repeats):
        for name, variant in VARIANTS.items():
            PROCESS_MEMORY.forget(type(process))
            process.seconds, process.calls = 0.0, 0
            begun = time.process_time()
            solution = solve(process, state, **options, **variant)
            spent = time.process_time() - begun - process.seconds - call * process.calls
            outside[name] = min(outside[name], 1e3 * spent / solution.rounds)
            besides[name] = process.calls - solution.rounds
            rounds = rounds or solution.rounds
    plain = outside["plain"]
    return {
        "rounds": rounds, "plain, ms a round": plain, "witness": outside["witness"] - plain,
        "check": outside["check"] - plain, "calls besides, witness": besides["witness"],
        "calls besides, check": besides["check"],
    }  # fmt: skip


def least_copy() -> float:
    """Milliseconds to copy one window of wide rows."""
    window, times = torch.empty(WINDOW, *SHAPE), []
    for _ in range(41):
        begun = time.process_time()
        window.clone()
        times.append(time.process_time() - begun)
    return 1e3 * sorted(times)[20]


def measure_wide(method: Method, affine: bool, native: bool) -> dict[str, object]:
    """One row of wide rows."""
    NATIVE_KERNELS.setting = "1" if native else "0"
    state = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    row = measure(
        Slow(affine), state, 2, method=method, window=Sliding(WINDOW), tolerance=Absolute(1e-5)
    )  # fmt: skip
    plain, checked = row["plain, ms a round"], row["plain, ms a round"] + row["check"]
    return {
        "method": type(method).__name__, "advance": "affine" if affine else "in order", "native": str(native), **row,
        "share, plain, %": 100 * plain / (plain + 1e3 * EVALUATION),
        "share, check, %": 100 * checked / (checked + 1e3 * EVALUATION),
        "copies": plain / least_copy(),
    }  # fmt: skip


def measure_short(width: int, native: bool) -> dict[str, object]:
    """One row of short rows."""
    NATIVE_KERNELS.setting = "1" if native else "0"
    process, state = Recurrent(), torch.randn(64, generator=torch.Generator().manual_seed(1))
    call = process.seconds_of_call(width)
    row = measure(process, state, 25, call, window=Sliding(width), tolerance=Absolute(1e-6))
    return {"window": width, "native": str(native), "evaluate, ms": 1e3 * call, **row}


def main() -> None:
    """Short rows in windows of two widths, and wide rows by every method with both ways to advance."""
    short = [measure_short(width, native) for native in (True, False) for width in (8, 64)]
    wide = [
        measure_wide(method, affine, native)
        for native in (True, False)
        for method in (Picard(), Secant())
        for affine in (False, True)
    ]
    sections = {"What is measured": __doc__ or "", "Short rows": table(short), "Wide rows": table(wide)}
    write_result("the_engine_adds_little", sections)


if __name__ == "__main__":
    main()
