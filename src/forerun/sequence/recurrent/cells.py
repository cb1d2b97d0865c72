"""Cells: one step of a recurrence for many steps together, and its Jacobian, on rows of hidden state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.small_matrices import prefers_elements, put_elements_first
from forerun.engine.numerics.tree import Tree, tree_map

CHUNK = 32  # columns of a Jacobian that are computed at once


class Cell(ABC):
    """`h' = f(h, x)` on rows `(W, *batch, D)`, a row holding all tensors of a hidden state one behind the other."""

    @abstractmethod
    def prepare(self, inputs: Tree) -> Tree:
        """What the inputs `(T, *batch, ...)` alone decide, once for all rounds; tensors `(T, *batch, ...)`."""

    @abstractmethod
    def step(self, hidden: Tensor, prepared: Tree) -> Tensor:
        """The next rows `(W, *batch, D)`; differentiable in everything."""

    @abstractmethod
    def linear(self, hidden: Tensor, prepared: Tree) -> tuple[Tensor, Tensor]:
        """The next rows, and with them `df / dh`, `(W, *batch, D, D)`."""


def in_columns(cell: Cell, hidden: Tensor, prepared: Tree) -> Tensor:
    """The Jacobian of any cell, column by column in forward mode."""
    axes = torch.eye(hidden.shape[-1], dtype=hidden.dtype, device=hidden.device)

    def pushed(axis: Tensor) -> Tensor:
        def call(rows: Tensor) -> Tensor:
            return cell.step(rows, prepared)

        derivative: Tensor = torch.func.jvp(call, (hidden,), (axis.expand_as(hidden),))[1]
        return derivative

    return torch.func.vmap(pushed, chunk_size=CHUNK)(axes).movedim(0, -1)


@dataclass(frozen=True)
class CellWeights:
    """Of a layer, as `torch.nn` keeps them: `(G H, inputs)`, `(G H, H)`, `(G H,)` twice, or None for no bias."""

    inward: Tensor
    hidden: Tensor
    bias_inward: Tensor | None
    bias_hidden: Tensor | None

    @classmethod
    def of(cls, cell: nn.RNNCellBase) -> CellWeights:
        """Of a cell."""
        return cls(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)

    def enter(self, inputs: Tensor) -> Tensor:
        """`W x + b`."""
        return self.laid(nn.functional.linear(inputs, self.inward, self.bias_inward))

    def recur(self, hidden: Tensor) -> Tensor:
        """`U h + b`, of hidden states as they are laid."""
        if not self._tiny(hidden):
            return nn.functional.linear(hidden, self.hidden, self.bias_hidden)
        found = self.hidden @ hidden.movedim(-1, 0).flatten(1)
        if self.bias_hidden is not None:
            found = found + self.bias_hidden.unsqueeze(1)
        rows: Tensor = found.unflatten(1, hidden.shape[:-1]).movedim(0, -1)
        return rows

    def laid(self, rows: Tensor) -> Tensor:
        """The same rows, in memory as their gates are computed fastest."""
        return put_elements_first(rows) if self._tiny(rows) else rows

    def _tiny(self, rows: Tensor) -> bool:
        width = self.hidden.shape[1]
        return prefers_elements(width, rows[..., 0].numel() * width**2, rows.device)


@final
@dataclass(frozen=True)
class GatedRecurrentCell(Cell):
    """`torch.nn.GRUCell` (Cho et al. 2014), with `a = W x + b` and `u = U h + b'`.

    r = sigmoid(a_r + u_r),  z = sigmoid(a_z + u_z),  n = tanh(a_n + r u_n),  h' = (1 - z) n + z h
    """

    weights: CellWeights

    def prepare(self, inputs: Tensor) -> Tensor:
        return self.weights.enter(inputs)

    def step(self, hidden: Tensor, prepared: Tensor) -> Tensor:
        hidden = self.weights.laid(hidden)
        _, update, new, _ = self._gates(hidden, prepared)
        return new + update * (hidden - new)

    def linear(self, hidden: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.weights.laid(hidden)
        reset, update, new, inner = self._gates(hidden, prepared)
        for_reset, for_update, for_new = self.weights.hidden.chunk(3)
        fresh, kept = (1 - update) * (1 - new * new), update * (hidden - new)
        J = _rows(
            (kept * (1 - update), for_update),
            (fresh * reset, for_new),
            (fresh * inner * reset * (1 - reset), for_reset),
        )
        J.diagonal(dim1=-2, dim2=-1).add_(update)
        return new + kept, J

    def _gates(self, hidden: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a_r, a_z, a_n = prepared.chunk(3, -1)
        u_r, u_z, inner = self.weights.recur(hidden).chunk(3, -1)
        reset, update = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
        return reset, update, torch.tanh(a_n + reset * inner), inner


@final
@dataclass(frozen=True)
class Memory(Cell):
    """`torch.nn.LSTMCell` (Hochreiter and Schmidhuber 1997) on rows `(h, c)`, with `a = W x + b + U h + b'`.

    c' = sigmoid(a_f) c + sigmoid(a_i) tanh(a_g),  h' = sigmoid(a_o) tanh(c')
    """

    weights: CellWeights

    def prepare(self, inputs: Tensor) -> Tensor:
        return self.weights.enter(inputs)

    def step(self, hidden: Tensor, prepared: Tensor) -> Tensor:
        _, _, _, output, cell = self._gates(hidden, prepared)
        return torch.cat([output * torch.tanh(cell), cell], -1)

    def linear(self, hidden: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor]:
        enter, forget, new, output, cell = self._gates(hidden, prepared)
        before, seen = hidden.chunk(2, -1)[1], torch.tanh(cell)
        for_enter, for_forget, for_new, for_output = self.weights.hidden.chunk(4)
        cell_h = _rows(
            (before * forget * (1 - forget), for_forget),
            (new * enter * (1 - enter), for_enter),
            (enter * (1 - new * new), for_new),
        )
        through = output * (1 - seen * seen)
        hidden_h = _rows((seen * output * (1 - output), for_output)) + through.unsqueeze(-1) * cell_h
        hidden_c, cell_c = torch.diag_embed(through * forget), torch.diag_embed(forget)
        J = torch.cat([torch.cat([hidden_h, hidden_c], -1), torch.cat([cell_h, cell_c], -1)], -2)
        return torch.cat([output * seen, cell], -1), J

    def _gates(self, hidden: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        state, cell = hidden.chunk(2, -1)
        enter, forget, new, output = (prepared + self.weights.recur(state)).chunk(4, -1)
        enter, forget, new, output = torch.sigmoid(enter), torch.sigmoid(forget), torch.tanh(new), torch.sigmoid(output)
        return enter, forget, new, output, forget * cell + enter * new


@final
@dataclass(frozen=True)
class ElmanCell(Cell):
    """`torch.nn.RNNCell`: `h' = tanh(W x + b + U h + b')`, or `relu` of it."""

    weights: CellWeights
    relu: bool = False

    def prepare(self, inputs: Tensor) -> Tensor:
        return self.weights.enter(inputs)

    def step(self, hidden: Tensor, prepared: Tensor) -> Tensor:
        inner = prepared + self.weights.recur(hidden)
        return torch.relu(inner) if self.relu else torch.tanh(inner)

    def linear(self, hidden: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor]:
        new = self.step(hidden, prepared)
        return new, _rows(((new > 0).to(new) if self.relu else 1 - new * new, self.weights.hidden))


@final
@dataclass(frozen=True)
class FunctionCell(Cell):
    """Any function `(h, x) -> h` of one step, for a batch; called with the steps of a window in its batch.

    Args:
        function: `h` a tree of tensors `(N, ...)`, `x` a tree of tensors `(N, ...)`.
        layout: of the hidden state, one batch axis.
    """

    function: Callable[[Any, Any], Any]
    layout: RowLayout

    def prepare(self, inputs: Tree) -> Tree:
        return inputs

    def step(self, hidden: Tensor, prepared: Tree) -> Tensor:
        count, batch = hidden.shape[:2]
        flat = [tree_map(lambda leaf: leaf.flatten(0, 1), each) for each in (self.layout.unpack(hidden), prepared)]
        following = tree_map(lambda leaf: leaf.unflatten(0, (count, batch)), self.function(*flat))
        return self.layout.pack(following, count)

    def linear(self, hidden: Tensor, prepared: Tree) -> tuple[Tensor, Tensor]:
        return self.step(hidden, prepared), in_columns(self, hidden, prepared)


def adapted(cell: Callable[[Any, Any], Any], layout: RowLayout) -> Cell:
    """The cell for rows; those of `torch.nn` have Jacobians in closed form."""
    if type(cell) is nn.GRUCell:
        return GatedRecurrentCell(CellWeights.of(cell))
    if type(cell) is nn.LSTMCell:
        return Memory(CellWeights.of(cell))
    if type(cell) is nn.RNNCell:
        return ElmanCell(CellWeights.of(cell), relu=cell.nonlinearity == "relu")
    return FunctionCell(cell, layout)


def _rows(*terms: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of `diag(scale) M`, `(*, H, H)`, laid as the scales are."""
    first = terms[0][0].stride(-1) != 1
    factors = [_first(*term) if first else (term[0].unsqueeze(-1), term[1]) for term in terms]
    found = factors[0][0] * factors[0][1]
    for scale, matrix in factors[1:]:
        found.addcmul_(scale, matrix)
    return found.movedim((0, 1), (-2, -1)) if first else found


def _first(scale: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The factors with their elements first."""
    return scale.movedim(-1, 0).unsqueeze(1), matrix.reshape(*matrix.shape, *[1] * (scale.dim() - 1))
