"""Deviation: how far one state lies from another, measured rather than estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_tensors


@dataclass(frozen=True)
class Deviation:
    """The distance of a state from the sequential run's.

    Attributes:
        largest: the largest difference of two numbers.
        rms: root mean square difference of a sample, of the sample where it is largest.
    """

    largest: float
    rms: float

    @classmethod
    def between(cls, state: Tree, sequential: Tree, batch_dims: int = 0) -> Deviation:
        """Return the deviation over all floating tensors of two states; one that is not a number is infinitely far.

        Args:
            state: of the run.
            sequential: of the sequential run, of the same shapes.
            batch_dims: leading axes that tell the samples apart.

        Raises:
            ValueError: the states differ in shape.
        """
        pairs = list(zip(tree_tensors(state), tree_tensors(sequential), strict=True))
        _refuse_shapes(pairs)
        rows = []
        for ours, theirs in pairs:
            if ours.is_floating_point():
                rows.append(_difference_rows(ours, theirs, batch_dims))
        if not rows:
            return cls(0.0, 0.0)
        differences = torch.cat(rows, -1).nan_to_num(torch.inf, torch.inf, -torch.inf)
        if not differences.numel():
            return cls(0.0, 0.0)
        largest = differences.abs().max()
        rms = differences.square().mean(-1).sqrt().max()
        return cls(float(largest), float(rms))


def _refuse_shapes(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ValueError(
                f"the states have shapes {list(ours.shape)} and {list(theirs.shape)}; compare runs of one process"
            )


def _difference_rows(ours: Tensor, theirs: Tensor, batch_dims: int) -> Tensor:
    """Return the difference of two tensors in float64, one row a sample, `(*batch, D)`."""
    difference = ours.double().cpu() - theirs.double().cpu()
    row = difference.flatten(batch_dims)
    if row.dim() == batch_dims:
        return row.unsqueeze(-1)
    return row
