"""Deviation: how far one state lies from another, measured rather than estimated."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
        """Over all floating tensors of two states; one that is not a number counts as infinitely far.

        Args:
            state: of the run.
            sequential: of the sequential run, of the same shapes.
            batch_dims: leading axes that tell the samples apart.

        Raises:
            ValueError: the states differ in shape.
        """
        pairs = list(zip(tree_tensors(state), tree_tensors(sequential), strict=True))
        for ours, theirs in pairs:
            if ours.shape != theirs.shape:
                raise ValueError(
                    f"the states have shapes {list(ours.shape)} and {list(theirs.shape)}; compare runs of one process"
                )
        rows = [
            (ours.double().cpu() - theirs.double().cpu()).flatten(batch_dims)
            for ours, theirs in pairs
            if ours.is_floating_point()
        ]
        rows = [row.unsqueeze(-1) if row.dim() == batch_dims else row for row in rows]
        moves = torch.cat(rows, -1).nan_to_num(torch.inf, torch.inf, -torch.inf) if rows else torch.zeros(0)
        if not moves.numel():
            return cls(0.0, 0.0)
        return cls(float(moves.abs().max()), float(moves.square().mean(-1).sqrt().max()))
