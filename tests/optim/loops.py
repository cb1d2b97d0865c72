"""Small training problems, the plain loop that is the truth, and how two loops are compared bit by bit."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from forerun import Absolute, Picard, Sliding
from forerun.optim import Loop, OneByOne, seeded

SEED = 3
EXACT = {
    "tolerance": Absolute(0.0),
    "window": Sliding(4),
    "method": Picard(),
    "gradients": OneByOne(),
    "seed": SEED,
}


class Net(nn.Module):
    """Two layers with dropout between them, so that a step without its own randomness is noticed."""

    def __init__(self, dropout=0.25):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.dropout = nn.Linear(6, 8), nn.Linear(8, 3), nn.Dropout(dropout)

    def forward(self, x):
        return self.last(self.dropout(torch.tanh(self.first(x))))


torch.manual_seed(1)
XS = torch.randn(64, 6)
YS = (XS @ torch.randn(6, 3)).argmax(1)


def loss(model, step):
    """Of a batch that the step's seed draws, with dropout."""
    batch = torch.randint(len(XS), (16,))
    return functional.cross_entropy(model(XS[batch]), YS[batch])


def plain(model, optimizer, steps, *, loss=loss, schedulers=(), clip=None, each=lambda step: None, start=0):
    """The ordinary loop."""
    losses, rates = [], []
    for step in range(start, start + steps):
        optimizer.zero_grad()
        with seeded(SEED, step):
            value = loss(model, step)
            value.backward()
        if clip is not None:
            clip(list(model.parameters()))
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        losses.append(value.item())
        each(step)
    return losses, rates


def same(first, second):
    """Whether two trees hold the same bits and the same plain values."""
    one, two = pytree.tree_flatten(first), pytree.tree_flatten(second)
    return one[1] == two[1] and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one[0], two[0], strict=True)
    )


def ahead(model, optimizer, steps, *, loss=loss, **options):
    """The same loop, ahead of itself, to the last bit."""
    running = Loop(model, optimizer, loss, **(EXACT | options)).run(steps)
    events = list(running)
    return events, running.solution()
