"""Claim: a recurrent network trained through `RNN` has the loss curve of the loop, in less time.

Scikit-learn's digits, enlarged to 32 x 32 and read pixel by pixel: sequences of 1024 steps. A GRU of few units reads
them, and a linear layer tells the digit from the mean of its states over each quarter of the sequence. The same weights
to begin with, the same batches, Adam; through the Python loop, through `torch.nn.GRU` (fused), through
`RNN(torch.nn.GRU)` as it is (on a CPU with numba the loop as one native kernel), and through
`RNN(torch.nn.GRU, method=Newton())`. Accuracy is on held-out digits. Time is CPU time of the process, of training
alone.

(b) Rounds of Newton's method over the cell that came out, by what they begin with and how they are held back; the
worst and best of four batches, without the check, "off" being the largest deviation from the loop. A warm start begins
at the path of the same batch under weights that all moved by the step that is named, as in training on whole batches.

(c) The same for cells with random weights, those of the hidden state made larger: `Boxed` with [-1, 1] for all
elements of a GRU and an Elman cell, and for `h` of an LSTM.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

os.environ["FORERUN_NATIVE"] = "1"

import torch
from harness import table, write_result
from sklearn.datasets import load_digits
from torch import Tensor, nn

from forerun import Full, Newton, QuasiNewton, Relative, solve
from forerun.engine.guesses import Copy, Hold, Known, Probe
from forerun.engine.methods import Boxed, Damped, Method
from forerun.engine.numerics.layout import RowLayout
from forerun.sequence import RNN, scan
from forerun.sequence.recurrent.recurrence import Recurrence
from forerun.sequence.recurrent.torch_cells import adapt_cell

SIDE, BATCH, STEPS, EVERY = 32, 8, 200, 25
HIDDEN = 8


def digits() -> tuple[Tensor, Tensor]:
    """Sequences `(N, 1024, 1)` in -1 .. 1, and labels."""
    data = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1) / 8 - 1
    large = nn.functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear")
    order = torch.randperm(len(large), generator=torch.Generator().manual_seed(0))
    return large.reshape(len(large), -1, 1)[order], torch.from_numpy(data.target)[order]


class Reader(nn.Module):
    """A GRU and a linear layer; `read` makes states `(T, B, H)` of sequences `(T, B, 1)`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gru = nn.GRU(1, HIDDEN)
        self.head = nn.Linear(4 * HIDDEN, 10)
        cell = self.cell = nn.GRUCell(1, HIDDEN)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(cell, name, getattr(self.gru, f"{name}_l0"))  # the same parameters
        self.ahead = RNN(self.gru)
        self.newton = RNN(self.gru, method=Newton())

    def loop(self, xs: Tensor) -> Tensor:
        """The plain loop over the cell."""
        h, found = xs.new_zeros(xs.shape[1], HIDDEN), []
        for x in xs:
            h = self.cell(x, h)
            found.append(h)
        return torch.stack(found)

    def logits(self, states: Tensor) -> Tensor:
        """`(B, 10)`."""
        quarters = states.reshape(4, -1, *states.shape[1:]).mean(1)
        return self.head(quarters.permute(1, 0, 2).flatten(1))


def trained(name: str, xs: Tensor, labels: Tensor) -> tuple[list[dict[str, float]], Reader]:
    """The curve, a row every some steps."""
    reader = Reader()
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "loop": reader.loop,
        "fused": lambda x: reader.gru(x)[0],
        "RNN": lambda x: reader.ahead(x)[0],
        "Newton": lambda x: reader.newton(x)[0],
    }
    parameters = [*reader.gru.parameters(), *reader.head.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-2)
    dice = torch.Generator().manual_seed(2)
    curve, spent, recent = [], 0.0, 0.0
    for step in range(1, STEPS + 1):
        rows = torch.randint(1500, (BATCH,), generator=dice)
        begun = time.process_time()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(reader.logits(ways[name](xs[rows].transpose(0, 1))), labels[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        spent += time.process_time() - begun
        recent += float(loss.detach()) / EVERY
        if step % EVERY == 0:
            curve.append({"loss": recent, "seconds": spent})
            recent = 0.0
    return curve, reader


@torch.no_grad()
def accuracy(reader: Reader, xs: Tensor, labels: Tensor) -> float:
    """Share of right digits among the held-out ones."""
    states = reader.gru(xs[1500:].transpose(0, 1))[0]
    return float((reader.logits(states).argmax(-1) == labels[1500:]).float().mean())


class CellRun:
    """Newton's method over one cell and batch, told how to begin and what to hold back."""

    def __init__(self, cell: nn.RNNCellBase, xs: Tensor) -> None:
        hidden = torch.zeros(xs.shape[1], cell.hidden_size)
        self.start: Any = (hidden, hidden) if isinstance(cell, nn.LSTMCell) else hidden
        layout = RowLayout.from_tree(self.start, batch_dims=1, name="state")
        rows = adapt_cell(cell, layout)
        self.process = Recurrence(rows, rows.prepare_inputs(xs), len(xs))
        self.first = layout.pack(self.start)
        hidden = scan(cell, self.start, xs).hidden
        self.truth = torch.cat(hidden, -1) if isinstance(hidden, tuple) else hidden

    def run(self, wrap: Callable[[Method], Method], guess: Any) -> tuple[int, float]:
        """Rounds, and the largest deviation."""
        method = wrap(Newton(self.process.evaluate_with_jacobian))
        found = solve(
            self.process, self.first, method=method, guess=guess, window=Full(), tolerance=Relative(64 * 1.2e-7, 5e-7),
            check=False, path=True, throw=False,
        )  # fmt: skip
        path = torch.stack(list(found.states)[1:])
        return found.rounds, float((path - self.truth[: len(path)]).abs().max())

    def warm(self) -> Known:
        """The path itself, as a guess."""
        return Known(torch.cat([self.first.unsqueeze(0), self.truth[:-1]]))


def plain(method: Method) -> Method:
    """Newton as it is."""
    return method


def bounded(method: Method) -> Method:
    """Newton in the box of a GRU."""
    return Boxed(method, -1.0, 1.0)


@torch.no_grad()
def rounds_of_newton(reader: Reader, xs: Tensor) -> Iterator[dict[str, object]]:
    """Rounds over the trained cell, by ways to begin and to hold back."""
    ways: dict[str, tuple[Callable[[Method], Method], Any]] = {
        "the last output held": (plain, Hold()),
        "the first state copied": (plain, Copy()),
        "one step from the first state (Probe(None))": (plain, Probe(None)),
        "the same, Boxed: what scan does": (bounded, Probe(None)),
        "the same, Damped(bound=1.0)": (lambda method: Damped(method, bound=1.0), Probe(None)),
        "the same, Damped(factor=0.5)": (lambda method: Damped(method, factor=0.5), Probe(None)),
        "the same, QuasiNewton()": (lambda _: QuasiNewton(), Probe(None)),
    }
    batches = [xs[index * BATCH : (index + 1) * BATCH].transpose(0, 1) for index in range(4)]
    runs = [CellRun(reader.cell, batch) for batch in batches]
    for name, (wrap, guess) in ways.items():
        yield summarise(name, [run.run(wrap, guess) for run in runs])
    yield summarise("the path of another batch, Boxed", [
        run.run(bounded, other.warm()) for run, other in zip(runs, runs[1:] + runs[:1], strict=True)
    ])  # fmt: skip
    for step in (1e-3, 1e-2):
        moved = nn.GRUCell(1, HIDDEN)
        moved.load_state_dict(reader.cell.state_dict())
        for parameter in moved.parameters():
            parameter.add_(step * torch.randn_like(parameter).sign())
        later = [CellRun(moved, batch) for batch in batches]
        pairs = list(zip(later, runs, strict=True))
        yield summarise(f"warm, weights moved by {step:g}, Boxed", [a.run(bounded, b.warm()) for a, b in pairs])


def summarise(name: str, found: list[tuple[int, float]]) -> dict[str, object]:
    """A row of a table."""
    rounds = [count for count, _ in found]
    return {
        "Newton begins at": name,
        "fewest rounds": min(rounds),
        "most": max(rounds),
        "off": max(d for _, d in found),
    }


@torch.no_grad()
def bounds_on_random_cells() -> Iterator[dict[str, object]]:
    """Rounds with bounds and without."""
    for gain in (2.0, 4.0):
        for kind in (nn.GRUCell, nn.RNNCell, nn.LSTMCell):
            plain_rounds, bounded_rounds = [], []
            for seed in range(4):
                torch.manual_seed(seed)
                cell = kind(2, 8)
                cell.weight_hh.mul_(gain)
                if kind is not nn.RNNCell:
                    cell.bias_hh[8:16] += 2  # it remembers
                run = CellRun(cell, torch.randn(500, 2, 2))
                box = 1.0 if kind is not nn.LSTMCell else (*[1.0] * 8, *[inf] * 8)
                low = -1.0 if kind is not nn.LSTMCell else (*[-1.0] * 8, *[-inf] * 8)
                plain_rounds.append(run.run(plain, Probe(None))[0])
                bounded_rounds.append(run.run(lambda m, low=low, box=box: Boxed(m, low, box), Probe(None))[0])
            yield {
                "cell": kind.__name__, "weights times": gain, "rounds of four cells": str(plain_rounds),
                "Boxed": str(bounded_rounds),
            }  # fmt: skip


def main() -> None:
    """Curves side by side, and rounds."""
    xs, labels = digits()
    found = {name: trained(name, xs, labels) for name in ("loop", "fused", "RNN", "Newton")}
    rows = [
        {
            "step": (place + 1) * EVERY,
            **{f"loss, {name}": curve[place]["loss"] for name, (curve, _) in found.items()},
            **{f"s, {name}": curve[place]["seconds"] for name, (curve, _) in found.items()},
        }
        for place in range(STEPS // EVERY)
    ]
    ends = [
        {"by": name, "accuracy": accuracy(reader, xs, labels), "seconds": curve[-1]["seconds"],
         "times as fast as the loop": found["loop"][0][-1]["seconds"] / curve[-1]["seconds"]}
        for name, (curve, reader) in found.items()
    ]  # fmt: skip
    heading = f"GRU of {HIDDEN} units, {SIDE * SIDE} steps, batches of {BATCH}"
    write_result(
        Path(__file__).stem,
        {
            "What is measured": __doc__ or "",
            heading: table(rows),
            "In the end": table(ends),
            "(b) Rounds of Newton over the trained cell": table(list(rounds_of_newton(found["RNN"][1], xs))),
            "(c) Bounds on random cells": table(list(bounds_on_random_cells())),
        },
    )


if __name__ == "__main__":
    main()
