"""Claim: `sequence.scan` is quicker than the loop, than `torch.nn`'s fused kernels, and than compiled DEER.

Forward and gradient (of the mean square of all states by all weights) of `torch.nn.GRUCell` and `LSTMCell`, by:

- the plain Python loop over the cell, and autograd through it;
- `torch.nn.GRU` or `LSTM`, the fused kernel: the real rival, for cells that it knows;
- `scan` as it is: on a CPU with numba the loop as one native kernel; and `scan` as it is without numba, which chooses
  between the loop in Python and Newton by a trial;
- `scan` with `Newton()`, its sweeps by native kernels, with the check and without;
- DEER (Lim et al., arXiv 2309.12252) in JAX, compiled: our own statement of it, as its code is in no registry: dense
  Jacobians, an associative scan, the gradient by one more; compiling is not counted;
- `pararnn-torch` (PyPI) in its eager mode, the only one on a CPU: Newton on its own GRU with dense hidden weights,
  which has as many of them, but gates the state before and not after it is multiplied.

Rounds are those of `scan` with Newton and the check; "off" is the largest deviation from the loop, of `scan` as it is,
of Newton and of DEER. Milliseconds are of CPU time of the process, medians of runs in turn (of the loop: one run), one
thread of a CPU, kernels loaded and compiled before. The last two columns are the ratios that count: `scan` as it is
over DEER (targets: 2 at 1,000 steps, 1.3 at 10,000), and over the fused kernel (target: 1).

(b) The backward pass of an RNN alone, as a linear system: autograd, `AdjointRecurrence` by the reverse scan (Newton)
and by Jacobi. (c) What the witness costs. (d) A chaotic cell, `h' = 3.9 h (1 - h)`: what the residuals say, what the
check says, and the truth.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["FORERUN_NATIVE"] = "1"

import torch
from harness import medians_in_turn, table, write_result
from torch import Tensor, nn

from forerun import Absolute, Full, Newton, solve
from forerun.engine.methods import Jacobi
from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.sequence import scan
from forerun.sequence.recurrent.recurrence import AdjointRecurrence
from forerun.sequence.recurrent.torch_cells import adapt_cell

try:
    import _deer
except ImportError:
    _deer = None  # type: ignore[assignment]
try:
    import pararnn
except ImportError:
    pararnn = None

INPUTS = 4
GRID = {
    nn.GRUCell: [(4, 100, 1), (4, 1000, 1), (16, 1000, 1), (64, 1000, 1), (4, 10000, 1), (16, 10000, 1)],
    nn.LSTMCell: [(4, 100, 1), (4, 1000, 1), (16, 1000, 1), (4, 10000, 1)],
}
FUSED = {nn.GRUCell: nn.GRU, nn.LSTMCell: nn.LSTM}
SMALL = 1e-5  # of the size of the gradients: how far the adjoint may be off
LARGE = 1 << 31  # bytes of Jacobians, above which DEER is not tried


def gradient(states: Tensor, weights: list[nn.Parameter]) -> tuple[Tensor, ...]:
    """Of the mean square by all weights."""
    return torch.autograd.grad(states.square().mean(), weights)


class Rivals:
    """All ways to one cell's states and gradients."""

    def __init__(self, kind: type[nn.RNNCellBase], hidden: int, length: int, batch: int) -> None:
        torch.manual_seed(0)
        self.kind, self.cell = kind, kind(INPUTS, hidden)
        self.xs = torch.randn(length, batch, INPUTS)
        h = torch.zeros(batch, hidden)
        self.h: Any = (h, h) if kind is nn.LSTMCell else h
        self.fused_module = FUSED[kind](INPUTS, hidden)
        for name, value in self.cell.named_parameters():
            getattr(self.fused_module, f"{name}_l0").data.copy_(value.data)
        self.weights = list(self.cell.parameters())

    def loop(self) -> Tensor:
        """The plain loop."""
        h, found = self.h, []
        for x in self.xs:
            h = self.cell(x, h)
            found.append(h[0] if isinstance(h, tuple) else h)
        return torch.stack(found)

    def ahead(self, **options: Any) -> Tensor:
        """`scan`."""
        self.run = scan(self.cell, self.h, self.xs, **options)
        return self.run.hidden[0] if isinstance(self.run.hidden, tuple) else self.run.hidden

    def without_numba(self) -> Tensor:
        """`scan` as it is without numba."""
        NATIVE_KERNELS.setting = "0"
        try:
            return self.ahead()
        finally:
            NATIVE_KERNELS.setting = "1"

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Forward and gradient of each."""
        found: dict[str, Callable[[], Any]] = {
            "fused": lambda: gradient(self.fused_module(self.xs)[0], list(self.fused_module.parameters())),
            "scan": lambda: gradient(self.ahead(), self.weights),
            "scan, no numba": lambda: gradient(self.without_numba(), self.weights),
            "Newton": lambda: gradient(self.ahead(method=Newton()), self.weights),
            "Newton, no check": lambda: gradient(self.ahead(method=Newton(), check=False), self.weights),
        }
        width = self.cell.hidden_size
        if self.xs.shape[0] * self.xs.shape[1] * width**2 * 16 >= LARGE:
            return found
        if _deer is not None:
            deer = _deer.Deer(self.weights, self.xs)
            found["DEER"] = deer.gradients
            self.theirs = deer.states
        if pararnn is not None and self.kind is nn.GRUCell and width > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dense = pararnn.ParaGRU(INPUTS, width, mix="head", n_heads=1)
            inputs = self.xs.transpose(0, 1).contiguous()
            found["pararnn"] = lambda: gradient(pararnn.newton_apply(dense, inputs), list(dense.parameters()))
        return found

    def row(self) -> dict[str, object]:
        """Everything about this cell."""
        calls = self.calls()
        truth = self.loop().detach()
        offs = {
            "scan off": float((self.ahead().detach() - truth).abs().max()),
            "Newton off": float((self.ahead(method=Newton()).detach() - truth).abs().max()),
            "DEER off": float((self.theirs() - truth).abs().max()) if "DEER" in calls else None,
        }
        rounds = self.run.rounds
        times = medians_in_turn(calls, 3 if len(self.xs) > 1000 else 7, of_processor=True)
        begun = time.process_time()
        gradient(self.loop(), self.weights)
        times["loop"] = time.process_time() - begun
        self.ahead()
        chosen = "native loop" if "native" in " ".join(self.run.notes) else "Newton" if self.run.log else "loop"
        names = ("loop", "fused", "scan", "scan, no numba", "Newton", "Newton, no check", "DEER", "pararnn")
        return {
            "cell": self.kind.__name__, "hidden": self.cell.hidden_size, "length": len(self.xs),
            "batch": self.xs.shape[1], "rounds": rounds, **offs, "scan took": chosen,
            **{name: 1e3 * times[name] if name in times else None for name in names},
            "scan / DEER": times["scan"] / times["DEER"] if "DEER" in times else None,
            "scan / fused": times["scan"] / times["fused"],
        }  # fmt: skip


def witness_cost() -> Iterator[dict[str, object]]:
    """What the calls of the user's own cell cost, forward alone, once a configuration is known to agree."""
    for kind, length in ((nn.GRUCell, 1000), (nn.GRUCell, 10000), (nn.LSTMCell, 10000)):
        rivals = Rivals(kind, 4, length, 1)
        for name, options in (("native loop", {}), ("Newton", {"method": Newton()})):

            def run(witness: bool, rivals: Rivals = rivals, options: Any = options) -> None:
                with torch.no_grad():
                    rivals.ahead(witness=witness, **options)

            times = medians_in_turn({"with": lambda: run(True), "without": lambda: run(False)}, 11, of_processor=True)
            yield {
                "cell": kind.__name__, "length": length, "by": name, "witnessed, ms": 1e3 * times["with"],
                "not witnessed, ms": 1e3 * times["without"],
                "share of the run, %": 100 * (times["with"] / times["without"] - 1),
            }  # fmt: skip


def backward() -> Iterator[dict[str, object]]:
    """The backward pass of an RNN as a linear system."""
    for hidden, length in ((4, 1000), (16, 1000)):
        torch.manual_seed(0)
        cell = nn.RNNCell(INPUTS, hidden)
        xs, h = torch.randn(length, 1, INPUTS), torch.zeros(1, hidden, requires_grad=True)
        states, state = [], h
        for x in xs:
            state = cell(x, state)
            states.append(state)
        path = torch.stack(states).detach()
        rows = adapt_cell(cell, None)  # type: ignore[arg-type]
        gradients = 2 * path / path.numel()
        adjoint = AdjointRecurrence(rows, path[:-1], rows.prepare_inputs(xs[1:]).detach(), gradients[:-1])
        loss = torch.stack(states).square().mean()

        def autograd(loss: Tensor = loss, state: Tensor = states[0]) -> Tensor:
            return torch.autograd.grad(loss, state, retain_graph=True)[0]

        truth = autograd()
        size = float(gradients.square().mean().sqrt())
        asked = {"window": Full(), "tolerance": Absolute(SMALL * size), "check": False}
        runs = {
            "reverse scan": lambda a=adjoint, g=gradients, asked=asked: solve(
                a, g[-1], method=Newton(a.evaluate_with_jacobian), **asked
            ),
            "Jacobi": lambda a=adjoint, g=gradients, asked=asked: solve(a, g[-1], method=Jacobi(), **asked),
        }
        times = medians_in_turn({"autograd": autograd, **runs}, 1, of_processor=True)
        for name in ("autograd", *runs):
            found = runs[name]() if name in runs else None
            yield {
                "hidden": hidden, "length": length, "by": name,
                "rounds": length if found is None else found.rounds,
                "evaluations": length if found is None else found.evaluations,
                "relative deviation": 0.0 if found is None else float((found.state - truth).norm() / truth.norm()),
                "ms": 1e3 * times[name],
            }  # fmt: skip


def chaos() -> Iterator[dict[str, object]]:
    """A cell whose residuals settle and whose path is wrong."""

    def cell(h: Tensor, x: Tensor) -> Tensor:
        return 3.9 * h * (1 - h) + x

    for length in (30, 60, 120):
        h, xs = torch.full((1, 1), 0.3, dtype=torch.float64), torch.zeros(length, 1, 1, dtype=torch.float64)
        truth = h
        for x in xs:
            truth = cell(truth, x)
        for check in (False, True):
            found = scan(cell, h, xs, method=Newton(), tolerance=Absolute(1e-6), check=check)
            yield {
                "length": length, "check": str(check), "rounds": found.rounds,
                "largest residual accepted": max(max(e.residuals[: e.accepted]) for e in found.log),
                "estimate": found.deviation_estimate if check else None,
                "true deviation": float((found.hidden[-1] - truth).abs().max()), "status": found.status.name,
            }  # fmt: skip


def main() -> None:
    """All tables."""
    rows = []
    for kind, cases in GRID.items():
        for case in cases:
            rows.append(Rivals(kind, *case).row())
            print(rows[-1], flush=True)
    others = [f"JAX {_deer.jax.__version__}." if _deer is not None else "JAX is not installed: DEER was not run."]
    others.append(f"pararnn-torch {pararnn.__version__}." if pararnn is not None else "pararnn-torch is not installed.")
    write_result(
        Path(__file__).stem,
        {
            "What is measured": __doc__ or "",
            "Forward and gradient, ms": f"{' '.join(others)}\n\n{table(rows)}",
            "(b) The backward pass of an RNN as a linear system": table(list(backward())),
            "(c) What the witness costs": table(list(witness_cost())),
            "(d) A chaotic cell, asked for 1e-6": table(list(chaos())),
        },
    )


if __name__ == "__main__":
    main()
