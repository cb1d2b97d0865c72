"""Claim: a recurrent network trained through `scan` has the loss curve of the loop, in less time where it pays.

Scikit-learn's digits, enlarged to 32 x 32 and read pixel by pixel: sequences of 1024 steps. A GRU of few units reads
them, and a linear layer tells the digit from the mean of its states over each quarter of the sequence. The same weights
to begin with, the same batches, Adam; through the Python loop, through `torch.nn.GRU` (fused), and through
`RNN(torch.nn.GRU, method=Newton())`. Accuracy is on held-out digits. Time is of training alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import table, write_result
from sklearn.datasets import load_digits
from torch import Tensor, nn

from forerun import Newton
from forerun.sequence import RNN

SIDE, BATCH, STEPS, EVERY = 32, 8, 400, 50
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
        self.ahead = RNN(self.gru, method=Newton())

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
        "scan": lambda x: reader.ahead(x)[0],
    }
    parameters = [*reader.gru.parameters(), *reader.head.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-2)
    dice = torch.Generator().manual_seed(2)
    curve, spent, recent = [], 0.0, 0.0
    for step in range(1, STEPS + 1):
        rows = torch.randint(1500, (BATCH,), generator=dice)
        begun = time.perf_counter()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(reader.logits(ways[name](xs[rows].transpose(0, 1))), labels[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        spent += time.perf_counter() - begun
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


def main() -> None:
    """Three curves side by side."""
    xs, labels = digits()
    found = {name: trained(name, xs, labels) for name in ("loop", "fused", "scan")}
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
        Path(__file__).stem, {"What is measured": __doc__ or "", heading: table(rows), "In the end": table(ends)}
    )


if __name__ == "__main__":
    main()
