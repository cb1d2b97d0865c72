"""The witness: the user's own step, called as the user would, beside the replica that an adapter evaluates instead.

An adapter replaces what the user wrote by a batched replica. No residual and no check of the engine sees where that
replica is wrong, since they hold it against itself. So on the first step, on some steps drawn at random along the
accepted path, and on the last one, the user's own object is called, and what it gives is held against the replica's.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree, describe_tree

COARSEST_AGREEMENT = 0.05  # of the largest value: the most that is let pass, however coarse the dtype


@dataclass(frozen=True)
class Witness:
    """How the user's own step is called to witness a run.

    Args:
        share: of the steps that are drawn at random, besides the first and the last.
        fewest: steps that are drawn at random at least, where the path has as many.
        roundings: by how many roundings of the dtype, of values of the size of the output, the replica may differ.
        seed: of the draw.
    """

    share: float = 0.02
    fewest: int = 2
    roundings: float = 4096.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Witness(share={self.share}) is not a share of the steps; pass a number from 0 to 1")
        if not self.roundings > 0:
            raise ValueError(f"Witness(roundings={self.roundings}) must be above 0; pass a number such as 4096")

    def choose_steps(self, length: int, *, known_to_agree: bool = False) -> list[int]:
        """Return the steps to witness, ascending: the first, some drawn at random, and the last.

        Args:
            length: steps of the path.
            known_to_agree: whether the same configuration was witnessed before; then one step is drawn at random.
        """
        if length < 1:
            return []
        count = 1 if known_to_agree else max(self.fewest, ceil(self.share * length))
        inner_steps = range(1, length - 1)
        draw = random.Random(f"{self.seed} {length}")
        drawn_steps = draw.sample(inner_steps, min(count, len(inner_steps)))
        return sorted({0, length - 1, *drawn_steps})


class WitnessDisagrees(RuntimeError):
    """Raised with `strict=True` where the user's own step gives something else than the replica."""


class WitnessWarning(UserWarning):
    """Says that the user's own step gives something else than the replica, so that the plain loop ran instead."""


@final
class WitnessMemory:
    """Remembers which configurations were witnessed and agreed, so that fewer of their steps are witnessed later."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._agreed: dict[Hashable, None] = {}

    def __contains__(self, configuration: Hashable) -> bool:
        return configuration in self._agreed

    def remember(self, configuration: Hashable) -> None:
        """Remember that a configuration agreed; the oldest is forgotten where there are too many."""
        self._agreed[configuration] = None
        while len(self._agreed) > self._size:
            self._agreed.pop(next(iter(self._agreed)))

    def forget(self, configuration: Hashable) -> None:
        """Forget a configuration, as it has disagreed since."""
        self._agreed.pop(configuration, None)


def describe_difference(user_output: Tree, replica_output: Tree, *, roundings: float) -> str | None:
    """Say how the user's own output differs from the replica's, beyond rounding; None where it does not.

    Args:
        user_output: a tree of tensors and plain values.
        replica_output: the same, as the replica gives it.
        roundings: how many roundings of the coarser dtype, of the largest value of each tensor, are let pass; inf for
            all that any rounding may explain.
    """
    user_leaves, user_spec = pytree.tree_flatten(user_output)
    replica_leaves, replica_spec = pytree.tree_flatten(replica_output)
    if user_spec != replica_spec:
        return f"it gives {describe_tree(user_output)}, the replica {describe_tree(replica_output)}"
    for user_leaf, replica_leaf in zip(user_leaves, replica_leaves, strict=True):
        difference = _describe_leaf_difference(user_leaf, replica_leaf, roundings)
        if difference is not None:
            return difference
    return None


def _describe_leaf_difference(user_leaf: Any, replica_leaf: Any, roundings: float) -> str | None:
    if not isinstance(user_leaf, Tensor) or not isinstance(replica_leaf, Tensor):
        equal = type(user_leaf) is type(replica_leaf) and bool(user_leaf == replica_leaf)
        return None if equal else f"it gives {user_leaf!r}, the replica {replica_leaf!r}"
    if user_leaf.shape != replica_leaf.shape or user_leaf.dtype != replica_leaf.dtype:
        return f"it gives {describe_tree(user_leaf)}, the replica {describe_tree(replica_leaf)}"
    if not user_leaf.is_floating_point() and not user_leaf.is_complex():
        differing = int((user_leaf != replica_leaf).sum())
        return f"{differing} of its {user_leaf.numel()} values are others" if differing else None
    return _describe_float_difference(user_leaf, replica_leaf, roundings)


def _describe_float_difference(user_leaf: Tensor, replica_leaf: Tensor, roundings: float) -> str | None:
    if not user_leaf.numel():
        return None
    wide = torch.promote_types(user_leaf.dtype, torch.float64)
    user_values, replica_values = user_leaf.to(wide), replica_leaf.to(wide)
    sizes = torch.stack([(user_values - replica_values).abs().amax(), user_values.abs().amax()])
    largest_distance, largest_size = sizes.tolist()
    share = min(roundings * torch.finfo(user_leaf.dtype).eps, COARSEST_AGREEMENT)
    if largest_distance <= share * largest_size < inf:
        return None
    finite = torch.isfinite(user_values)
    if not torch.equal(finite, torch.isfinite(replica_values)):
        return "other values of it are not finite"
    zero = torch.zeros((), dtype=wide, device=user_leaf.device)
    distance = torch.where(finite, user_values - replica_values, zero).abs().amax()
    size = torch.where(finite, user_values, zero).abs().amax()
    if bool(distance <= share * size):
        return None
    return f"it differs by {float(distance):.2g}, for values of up to {float(size):.2g}"
