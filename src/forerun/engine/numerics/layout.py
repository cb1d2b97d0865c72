"""RowLayout: how the tensors of a tree lie in a row, packed into one tensor and unpacked again."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Final, NoReturn

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import BareWord, Tree, describe_tensor, describe_tree

TENSOR: Final = object()  # stands where a tensor was among the plain values of a layout


@dataclass(frozen=True)
class RowLayout:
    """How the tensors of a tree lie in a row.

    Leaves `(*lead, *batch, *shape_k)` pack into rows `(*lead, *batch, D)` with `D = sum_k prod(shape_k)`,
    in the widest dtype among them and at least float32. Integers are kept as numbers; 64-bit ones make
    the rows float64, which holds them exactly up to 2**53. Plain values must be the same at every step.
    """

    name: str  # what messages call the tree: "input", "output", "state"
    spec: pytree.TreeSpec
    plain: tuple[Any, ...]  # one entry a leaf: TENSOR, or the plain value itself
    shapes: tuple[torch.Size, ...]  # one entry a tensor, batch axes included
    dtypes: tuple[torch.dtype, ...]
    sizes: tuple[int, ...]  # elements of each tensor in a row
    batch: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def from_tree(cls, tree: Tree, *, batch_dims: int, name: str) -> RowLayout:
        """The layout of one step's `tree`.

        Raises:
            TypeError: there is no tensor in the tree, or a complex one.
            ValueError: the tensors disagree about device or batch axes.
        """
        leaves, spec = pytree.tree_flatten(tree)
        found = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not found:
            raise TypeError(f"the {name} {describe_tree(tree)} holds no tensor; make it one with torch.tensor(value)")
        if any(leaf.is_complex() for leaf in found):
            raise TypeError(f"the {name} {describe_tree(tree)} is complex; carry torch.view_as_real(x) instead")
        if len({leaf.device for leaf in found}) > 1:
            raise ValueError(
                f"the {name} {describe_tree(tree)} lies on several devices; move it to one with .to(device)"
            )
        batch = found[0].shape[:batch_dims]
        if any(leaf.dim() < batch_dims or leaf.shape[:batch_dims] != batch for leaf in found):
            raise ValueError(
                f"the process says batch_dims = {batch_dims}, but the tensors of its {name} {describe_tree(tree)} do "
                f"not begin with the same {batch_dims} axes; give them the same batch axes, or set batch_dims = 0"
            )
        return cls(
            name=name,
            spec=spec,
            plain=tuple(TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves),
            shapes=tuple(leaf.shape for leaf in found),
            dtypes=tuple(leaf.dtype for leaf in found),
            sizes=tuple(prod(leaf.shape[batch_dims:]) for leaf in found),
            batch=batch,
            dtype=_row_dtype({leaf.dtype for leaf in found}),
            device=found[0].device,
        )

    @property
    def width(self) -> int:
        """Elements of a row, `D`."""
        return sum(self.sizes)

    def pack(self, tree: Tree, *lead: int) -> Tensor:
        """Rows `(*lead, *batch, D)` of a tree whose tensors begin with the axes `lead`.

        Raises:
            ValueError: structure, shape, dtype, device or a plain value differs from the layout.
        """
        bare = isinstance(tree, Tensor) and self.spec.is_leaf()
        leaves, spec = ([tree], self.spec) if bare else pytree.tree_flatten(tree)
        if spec != self.spec or len(leaves) != len(self.plain):
            self._refuse(tree, lead, "structure")
        for leaf, plain in zip(leaves, self.plain, strict=True):
            if plain is TENSOR and not isinstance(leaf, Tensor):
                self._refuse(tree, lead, "structure")
            if plain is not TENSOR and (isinstance(leaf, Tensor) or plain != leaf):
                self._refuse(tree, lead, "plain value (what changes from step to step must be a tensor)")
        found = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        for leaf, shape, dtype in zip(found, self.shapes, self.dtypes, strict=True):
            if leaf.shape != (*lead, *shape):
                self._refuse(tree, lead, "shape")
            if leaf.dtype != dtype or leaf.device != self.device:
                self._refuse(tree, lead, "dtype or device")
        rows = [
            leaf.reshape(*lead, *self.batch, size).to(self.dtype) for leaf, size in zip(found, self.sizes, strict=True)
        ]
        return rows[0] if len(rows) == 1 else torch.cat(rows, -1)

    def unpack(self, rows: Tensor) -> Tree:
        """The tree of `rows` `(*lead, *batch, D)`; a view where the dtype is the row's own."""
        lead = rows.shape[: rows.dim() - len(self.batch) - 1]
        pieces = [rows] if len(self.sizes) == 1 else rows.split(self.sizes, -1)
        found = iter(
            _cast(piece.reshape((*lead, *shape)), dtype)
            for piece, shape, dtype in zip(pieces, self.shapes, self.dtypes, strict=True)
        )
        if self.spec.is_leaf():
            return next(found)
        return pytree.tree_unflatten([next(found) if p is TENSOR else p for p in self.plain], self.spec)

    def _refuse(self, tree: Tree, lead: tuple[int, ...], what: str) -> NoReturn:
        expected = pytree.tree_unflatten(self._words(lead), self.spec)
        raise ValueError(
            f"the {self.name} came as {describe_tree(tree)}, but {expected!r} was expected: another {what}. "
            f"{self._advice(lead)}"
        )

    def _advice(self, lead: tuple[int, ...]) -> str:
        axis = f"a leading axis of {lead[0]} steps" if lead else "no axis of steps"
        if self.name == "output":
            return f"Let evaluate return {axis}, and the structure, dtype and device of its first call"
        first = "of the first state's input"
        if lead:
            return f"Pass {axis}, and the structure, dtype and device {first}"
        return f"Let advance keep, or observe give, the structure, shape, dtype and device {first}: x.to(x0.dtype)"

    def _words(self, lead: tuple[int, ...]) -> list[BareWord]:
        found = iter(
            describe_tensor(dtype, (*lead, *shape), self.device)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )
        return [BareWord(next(found) if plain is TENSOR else repr(plain)) for plain in self.plain]


def _row_dtype(dtypes: set[torch.dtype]) -> torch.dtype:
    """At least float32; float64 where 64-bit numbers of any kind must survive."""
    return torch.float64 if dtypes & {torch.float64, torch.int64} else torch.float32


def _cast(piece: Tensor, dtype: torch.dtype) -> Tensor:
    if piece.dtype == dtype:
        return piece
    return piece.to(dtype) if dtype.is_floating_point else piece.round().to(dtype)
