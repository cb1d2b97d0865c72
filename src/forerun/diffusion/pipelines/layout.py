"""How a network sees the samples: the same elements, perhaps in other axes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AxisLayout:
    """A change of axes of samples `(N, *shape)`, and back."""

    name: str
    there: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


SAME = AxisLayout("as they are", lambda x: x, lambda x: x)


def layouts(sample: Tensor, seen: Tensor) -> Iterator[AxisLayout]:
    """The layouts that may make the samples `(B, *shape)` into what the network sees, most usual first."""
    if sample.dim() == seen.dim():
        yield SAME
        if sample.dim() == 5:
            yield AxisLayout("frames and channels swapped", lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2))
    if sample.dim() + 1 == seen.dim():
        for axis in range(1, seen.dim()):
            if seen.shape[axis] == 1:
                yield AxisLayout(
                    f"with an axis {axis}",
                    functools.partial(torch.unsqueeze, dim=axis),
                    functools.partial(torch.squeeze, dim=axis),
                )
    if sample.dim() == 4 and seen.dim() == 5 and not len(sample) % seen.shape[2]:
        frames = seen.shape[2]
        yield AxisLayout(
            f"{frames} frames out of the batch",
            lambda x: x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2),
            lambda x: x.transpose(1, 2).flatten(0, 1),
        )
