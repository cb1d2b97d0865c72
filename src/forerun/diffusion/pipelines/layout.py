"""Axes of the samples as a network sees them: the same elements, perhaps in another order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AxisLayout:
    """A change of axes of samples `(N, *shape)` on their way to the network, and back."""

    name: str
    to_network: Callable[[Tensor], Tensor]
    to_sample: Callable[[Tensor], Tensor]


UNCHANGED_LAYOUT = AxisLayout("as they are", lambda x: x, lambda x: x)
SWAPPED_LAYOUT = AxisLayout(
    "frames and channels swapped",
    lambda x: x.transpose(1, 2),
    lambda x: x.transpose(1, 2),
)


def candidate_layouts(sample: Tensor, observed: Tensor) -> Iterator[AxisLayout]:
    """Yield the layouts that may make the samples `(B, *shape)` into what the network got, most usual first."""
    if sample.dim() == observed.dim():
        yield UNCHANGED_LAYOUT
        if sample.dim() == 5:
            yield SWAPPED_LAYOUT
    if sample.dim() + 1 == observed.dim():
        yield from _layouts_with_axis(observed)
    if sample.dim() == 4 and observed.dim() == 5:
        frames = observed.shape[2]
        if not len(sample) % frames:
            yield _frames_layout(frames)


def _layouts_with_axis(observed: Tensor) -> Iterator[AxisLayout]:
    for axis in range(1, observed.dim()):
        if observed.shape[axis] == 1:
            yield AxisLayout(
                f"with an axis {axis}",
                functools.partial(torch.unsqueeze, dim=axis),
                functools.partial(torch.squeeze, dim=axis),
            )


def _frames_layout(frames: int) -> AxisLayout:
    def to_network(x: Tensor) -> Tensor:
        return x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2)

    def to_sample(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    return AxisLayout(f"{frames} frames out of the batch", to_network, to_sample)
