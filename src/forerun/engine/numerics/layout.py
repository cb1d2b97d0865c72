"""RowLayout: how the tensors of a tree lie in a row.

The engine itself works on rows: a layout packs the tensors of a tree into one tensor whose last axis holds all
elements, and unpacks them again. A single tensor packs into a view of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from math import prod
from typing import Any, Final, NoReturn, TypeGuard

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.long_integers import LONG_DTYPES, join_long, split_long
from forerun.engine.numerics.tree import (
    BareWord,
    Tree,
    describe_tensor,
    describe_tree,
)


class PlaceOfTensor(Enum):
    """Stands where a tensor was among the plain values of a layout; the same object after a copy or a pickle."""

    TENSOR = "tensor"


TENSOR: Final = PlaceOfTensor.TENSOR
WIDE_DTYPES: Final = frozenset({torch.float64, torch.complex128, torch.int64, torch.uint64, torch.int32, torch.uint32})


@dataclass(frozen=True)
class RowLayout:
    """How the tensors of a tree lie in a row.

    Leaves `(*lead, *batch, *shape_k)` pack into rows `(*lead, *batch, D)` with `D = sum_k prod(shape_k)`,
    in the widest dtype among them and at least float32. Integers are carried exactly: those of 32 bits and more make
    the rows float64, and 64-bit ones take two columns, `x = low + 2**32 high`, first all that is low and then all that
    is high, which is zero for small numbers. Complex numbers, which the states of maps may hold, take two columns each,
    real and imaginary part. Plain values must be the same at every step.
    """

    name: str  # what messages call the tree: "input", "output", "state"
    spec: pytree.TreeSpec
    plain: tuple[Any, ...]  # one entry a leaf: TENSOR, or the plain value itself
    shapes: tuple[torch.Size, ...]  # one entry a tensor, batch axes included
    dtypes: tuple[torch.dtype, ...]
    sizes: tuple[int, ...]  # columns of each tensor in a row
    batch: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def from_tree(cls, tree: Tree, *, batch_dims: int, name: str) -> RowLayout:
        """Return the layout of one step's `tree`.

        Raises:
            TypeError: there is no tensor in the tree, or a complex one outside of the states of maps.
            ValueError: the tensors disagree about device or batch axes.
        """
        leaves, spec = pytree.tree_flatten(tree)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        _check_kinds(tensors, tree, name)
        _check_batch_axes(tensors, tree, name, batch_dims)
        return cls(
            name=name,
            spec=spec,
            plain=tuple(_plain_value(leaf) for leaf in leaves),
            shapes=tuple(leaf.shape for leaf in tensors),
            dtypes=tuple(leaf.dtype for leaf in tensors),
            sizes=tuple(_count_columns(leaf, batch_dims) for leaf in tensors),
            batch=tensors[0].shape[:batch_dims],
            dtype=_row_dtype({leaf.dtype for leaf in tensors}),
            device=tensors[0].device,
        )

    @property
    def width(self) -> int:
        """Columns of a row, `D`."""
        return sum(self.sizes)

    @cached_property
    def is_one_tensor(self) -> bool:
        """Whether a tree is one tensor whose numbers are those of a row, in another shape at most."""
        return self.spec.is_leaf() and self.dtypes[0] == self.dtype

    @cached_property
    def is_bare_row(self) -> bool:
        """Whether a tree is one tensor that is its own row, so that nothing is packed."""
        return self.is_one_tensor and self.shapes[0] == (*self.batch, self.width)

    @property
    def is_rounded(self) -> bool:
        """Whether a leaf is of lower precision than any row: what is summed in rows is not rounded as a step rounds."""
        return any(dtype.is_floating_point and dtype.itemsize < 4 for dtype in self.dtypes)

    def pack(self, tree: Tree, *lead: int) -> Tensor:
        """Return the rows `(*lead, *batch, D)` of a tree whose tensors begin with the axes `lead`.

        Raises:
            ValueError: structure, shape, dtype, device or a plain value differs from the layout.
        """
        if self.is_one_tensor and self._fits_tensor(tree, lead):
            return tree if self.is_bare_row else tree.reshape(*lead, *self.batch, self.width)
        leaves = self._flatten_tree(tree, lead)
        self._check_plain_values(leaves, tree, lead)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self._check_tensors(tensors, tree, lead)
        pieces = []
        for tensor, size in zip(tensors, self.sizes, strict=True):
            if tensor.dtype in LONG_DTYPES:
                pieces.append(split_long(tensor.reshape(*lead, *self.batch, size // 2)))
            elif tensor.is_complex():
                parts = torch.view_as_real(tensor.resolve_conj()).reshape(*lead, *self.batch, size)
                pieces.append(parts.to(self.dtype))
            else:
                piece = tensor.reshape(*lead, *self.batch, size)
                pieces.append(piece.to(self.dtype))
        if len(pieces) == 1:
            return pieces[0]
        return torch.cat(pieces, -1)

    def unpack(self, rows: Tensor) -> Tree:
        """Return the tree of `rows` `(*lead, *batch, D)`; a view where the dtype is the row's own."""
        if self.is_bare_row:
            return rows
        lead = rows.shape[: rows.dim() - len(self.batch) - 1]
        if self.is_one_tensor:
            return rows.reshape((*lead, *self.shapes[0]))
        if len(self.sizes) == 1:
            pieces: Sequence[Tensor] = [rows]
        else:
            pieces = rows.split(self.sizes, -1)
        tensors = []
        for piece, shape, dtype in zip(pieces, self.shapes, self.dtypes, strict=True):
            if dtype.is_complex:
                parts = piece.reshape((*lead, *shape, 2)).to(dtype.to_real())
                tensors.append(torch.view_as_complex(parts.contiguous()))
                continue
            values = join_long(piece) if dtype in LONG_DTYPES else piece
            tensors.append(_cast_piece(values.reshape((*lead, *shape)), dtype))
        if self.spec.is_leaf():
            return tensors[0]
        return pytree.tree_unflatten(self._fill_leaves(tensors), self.spec)

    def find_integer_moves(self, moves: Tensor) -> Tensor | None:
        """Return where an integer moved, `(*lead, *batch)`, for moves `(*lead, *batch, D)`; None without integers."""
        if all(dtype.is_floating_point or dtype.is_complex for dtype in self.dtypes):
            return None
        pieces = zip(moves.split(self.sizes, -1), self.dtypes, strict=True)
        integer_moves = [piece for piece, dtype in pieces if not (dtype.is_floating_point or dtype.is_complex)]
        return (torch.cat(integer_moves, -1).abs() >= 0.5).any(-1)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: a tree of numbers in place of the structure, which torch pickles with a warning."""
        skeleton = pytree.tree_unflatten(list(range(len(self.plain))), self.spec)
        return {**self.__dict__, "spec": skeleton}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        _, spec = pytree.tree_flatten(attributes["spec"])
        self.__dict__.update(attributes, spec=spec)

    def _fits_tensor(self, tree: Tree, lead: tuple[int, ...]) -> TypeGuard[Tensor]:
        """Whether a tree is the one tensor that is expected."""
        if not isinstance(tree, Tensor) or tree.dtype != self.dtype:
            return False
        return tree.shape == (*lead, *self.shapes[0]) and tree.device == self.device

    def _flatten_tree(self, tree: Tree, lead: tuple[int, ...]) -> list[Any]:
        """Return the leaves of a tree of this structure."""
        if isinstance(tree, Tensor) and self.spec.is_leaf():
            return [tree]
        leaves, spec = pytree.tree_flatten(tree)
        if spec != self.spec or len(leaves) != len(self.plain):
            self._refuse_tree(tree, lead, "structure")
        return leaves

    def _check_plain_values(self, leaves: list[Any], tree: Tree, lead: tuple[int, ...]) -> None:
        """Refuse leaves that are no tensors where the layout has one, or whose plain values differ."""
        for leaf, plain in zip(leaves, self.plain, strict=True):
            if plain is TENSOR:
                if not isinstance(leaf, Tensor):
                    self._refuse_tree(tree, lead, "structure")
            elif plain is not leaf and not are_same_value(plain, leaf):
                self._refuse_tree(
                    tree,
                    lead,
                    "plain value (what changes from step to step must be a tensor)",
                )

    def _check_tensors(self, tensors: list[Tensor], tree: Tree, lead: tuple[int, ...]) -> None:
        """Refuse tensors of another shape, dtype or device."""
        for tensor, shape, dtype in zip(tensors, self.shapes, self.dtypes, strict=True):
            if tensor.shape != (*lead, *shape):
                self._refuse_tree(tree, lead, "shape")
            if tensor.dtype != dtype or tensor.device != self.device:
                self._refuse_tree(tree, lead, "dtype or device")

    def _fill_leaves(self, entries: Sequence[Any]) -> list[Any]:
        """Return the plain values as leaves, with one entry in the place of every tensor."""
        remaining = iter(entries)
        leaves = []
        for plain in self.plain:
            leaves.append(next(remaining) if plain is TENSOR else plain)
        return leaves

    def _refuse_tree(self, tree: Tree, lead: tuple[int, ...], difference: str) -> NoReturn:
        """Raise what says how a tree differs from the layout, and what to do about it."""
        words = []
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            words.append(BareWord(describe_tensor(dtype, (*lead, *shape), self.device)))
        expected = pytree.tree_unflatten(self._fill_leaves(words), self.spec)
        raise ValueError(
            f"the {self.name} came as {describe_tree(tree)}, but {expected!r} was expected: another {difference}. "
            f"{self._advice(lead)}"
        )

    def _advice(self, lead: tuple[int, ...]) -> str:
        """Return the sentence that says what to do about a tree that does not fit."""
        axis = f"a leading axis of {lead[0]} steps" if lead else "no axis of steps"
        if self.name == "value":
            return "Let the map return the structure, shape, dtype and device of its argument: y.to(x.dtype)"
        if self.name == "output":
            return f"Let evaluate return {axis}, and the structure, dtype and device of its first call"
        first = "of the first state's input"
        if lead:
            return f"Pass {axis}, and the structure, dtype and device {first}"
        return f"Let advance keep, or observe give, the structure, shape, dtype and device {first}: x.to(x0.dtype)"


def _plain_value(leaf: Any) -> Any:
    """Return what a layout remembers of a leaf."""
    if isinstance(leaf, Tensor):
        return TENSOR
    return leaf


def _check_kinds(tensors: list[Tensor], tree: Tree, name: str) -> None:
    """Refuse a tree without tensors, with complex ones, or on several devices."""
    if not tensors:
        raise TypeError(f"the {name} {describe_tree(tree)} holds no tensor; make it one with torch.tensor(value)")
    if name != "value" and any(leaf.is_complex() for leaf in tensors):
        raise TypeError(f"the {name} {describe_tree(tree)} is complex; carry torch.view_as_real(x) instead")
    if len({leaf.device for leaf in tensors}) > 1:
        raise ValueError(f"the {name} {describe_tree(tree)} lies on several devices; move it to one with .to(device)")


def _check_batch_axes(tensors: list[Tensor], tree: Tree, name: str, batch_dims: int) -> None:
    """Refuse tensors that do not begin with the same batch axes."""
    batch = tensors[0].shape[:batch_dims]
    if len(batch) < batch_dims or any(leaf.shape[:batch_dims] != batch for leaf in tensors):
        raise ValueError(
            f"the process says batch_dims = {batch_dims}, but the tensors of its {name} {describe_tree(tree)} do "
            f"not begin with the same {batch_dims} axes; give them the same batch axes, or set batch_dims = 0"
        )


def _row_dtype(dtypes: set[torch.dtype]) -> torch.dtype:
    """Return at least float32; float64 where numbers that float32 does not hold must survive."""
    if dtypes & WIDE_DTYPES:
        return torch.float64
    return torch.float32


def _cast_piece(piece: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a piece of a row in the dtype of its tensor; whole numbers are rounded to."""
    if piece.dtype == dtype:
        return piece
    if dtype.is_floating_point:
        return piece.to(dtype)
    if dtype == torch.bool:
        return piece.round().to(dtype)
    # by way of int64, from where a sum that is too large wraps round as it does in a step
    return piece.round().to(torch.int64).to(dtype)


def _count_columns(leaf: Tensor, batch_dims: int) -> int:
    """Return how many columns of a row a leaf takes."""
    count = prod(leaf.shape[batch_dims:])
    return 2 * count if leaf.is_complex() or leaf.dtype in LONG_DTYPES else count


def are_same_value(one: Any, other: Any) -> bool:
    """Return whether two plain values are the same; of any kind: arrays, and nan, which does not equal itself."""
    if one is other:
        return True
    try:
        equal = one == other
        if hasattr(equal, "all"):  # an array, elementwise
            return one.shape == other.shape and bool((equal | ((one != one) & (other != other))).all())
        return bool(equal) or bool(one != one and other != other)
    except Exception:  # a value that cannot be compared is the same only as itself
        return False
