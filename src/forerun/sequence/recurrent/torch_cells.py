"""The cells of `torch.nn` on rows of hidden state, with their Jacobians in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.engine.methods import Bound
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.small_matrices import prefers_elements, put_elements_first
from forerun.sequence.recurrent.cells import Cell, FunctionCell
from forerun.sequence.recurrent.user_cell import UserCell, apply_weight_hooks, unwrap_cell


@dataclass(frozen=True)
class CellWeights:
    """Weights of a layer, as `torch.nn` keeps them.

    Attributes:
        inward: `(G H, inputs)`.
        hidden: `(G H, H)`.
        bias_inward: `(G H,)`, None for no bias.
        bias_hidden: `(G H,)`, None for no bias.
    """

    inward: Tensor
    hidden: Tensor
    bias_inward: Tensor | None
    bias_hidden: Tensor | None

    @classmethod
    def from_cell(cls, cell: nn.RNNCellBase) -> CellWeights:
        """Return the weights of a cell."""
        return cls(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)

    def project_inputs(self, inputs: Tensor) -> Tensor:
        """Return `W x + b`."""
        projected = nn.functional.linear(inputs, self.inward, self.bias_inward)
        return self.lay_out(projected)

    def project_hidden(self, hidden: Tensor) -> Tensor:
        """Return `U h + b`, of hidden states as they are laid out."""
        if not self._prefers_elements(hidden):
            return nn.functional.linear(hidden, self.hidden, self.bias_hidden)
        product = self.hidden @ hidden.movedim(-1, 0).flatten(1)
        if self.bias_hidden is not None:
            product = product + self.bias_hidden.unsqueeze(1)
        rows: Tensor = product.unflatten(1, hidden.shape[:-1]).movedim(0, -1)
        return rows

    def lay_out(self, rows: Tensor) -> Tensor:
        """Return the same rows, in memory as their gates are computed fastest."""
        if self._prefers_elements(rows):
            return put_elements_first(rows)
        return rows

    def _prefers_elements(self, rows: Tensor) -> bool:
        width = self.hidden.shape[1]
        return prefers_elements(width, rows[..., 0].numel() * width**2, rows.device)


@final
@dataclass(frozen=True)
class GatedRecurrentCell(Cell):
    """`torch.nn.GRUCell` (Cho et al. 2014), with `a = W x + b` and `u = U h + b'`.

    r = sigmoid(a_r + u_r),  z = sigmoid(a_z + u_z),  n = tanh(a_n + r u_n),  h' = (1 - z) n + z h
    """

    weights: CellWeights

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return self.weights.project_inputs(inputs)

    def step_rows(self, hidden: Tensor, prepared: Tensor) -> Tensor:
        hidden = self.weights.lay_out(hidden)
        _, z, n, _ = self._compute_gates(hidden, prepared)
        return n + z * (hidden - n)

    def step_with_jacobian(
        self,
        hidden: Tensor,
        prepared: Tensor,
    ) -> tuple[Tensor, Tensor]:
        hidden = self.weights.lay_out(hidden)
        r, z, n, u_n = self._compute_gates(hidden, prepared)
        U_r, U_z, U_n = self.weights.hidden.chunk(3)
        slope_n = (1 - z) * (1 - n * n)
        carried = z * (hidden - n)
        J = _add_scaled_rows(
            (carried * (1 - z), U_z),
            (slope_n * r, U_n),
            (slope_n * u_n * r * (1 - r), U_r),
        )
        J.diagonal(dim1=-2, dim2=-1).add_(z)
        return n + carried, J

    def bound_states(self, start: Tensor) -> tuple[Bound, Bound]:
        largest = max(float(start.abs().amax()), 1.0)  # a state lies between the one before it and a tanh
        return -largest, largest

    def _compute_gates(
        self,
        hidden: Tensor,
        prepared: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return `r`, `z`, `n` and `u_n`."""
        u = self.weights.project_hidden(hidden)
        a_r, a_z, a_n = prepared.chunk(3, -1)
        u_r, u_z, u_n = u.chunk(3, -1)
        r = torch.sigmoid(a_r + u_r)
        z = torch.sigmoid(a_z + u_z)
        n = torch.tanh(a_n + r * u_n)
        return r, z, n, u_n


@final
@dataclass(frozen=True)
class LongShortTermCell(Cell):
    """`torch.nn.LSTMCell` (Hochreiter and Schmidhuber 1997) on rows `(h, c)`, with `a = W x + b + U h + b'`.

    i = sigmoid(a_i),  f = sigmoid(a_f),  g = tanh(a_g),  o = sigmoid(a_o),  c' = f c + i g,  h' = o tanh(c')
    """

    weights: CellWeights

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return self.weights.project_inputs(inputs)

    def step_rows(self, hidden: Tensor, prepared: Tensor) -> Tensor:
        _, _, _, o, c = self._compute_gates(hidden, prepared)
        return torch.cat([o * torch.tanh(c), c], -1)

    def step_with_jacobian(
        self,
        hidden: Tensor,
        prepared: Tensor,
    ) -> tuple[Tensor, Tensor]:
        i, f, g, o, c = self._compute_gates(hidden, prepared)
        c_before = hidden.chunk(2, -1)[1]
        tanh_c = torch.tanh(c)
        U_i, U_f, U_g, U_o = self.weights.hidden.chunk(4)
        dc_dh = _add_scaled_rows(
            (c_before * f * (1 - f), U_f),
            (g * i * (1 - i), U_i),
            (i * (1 - g * g), U_g),
        )
        through_c = o * (1 - tanh_c * tanh_c)
        through_o = _add_scaled_rows((tanh_c * o * (1 - o), U_o))
        dh_dh = through_o + through_c.unsqueeze(-1) * dc_dh
        dh_dc = torch.diag_embed(through_c * f)
        dc_dc = torch.diag_embed(f)
        upper = torch.cat([dh_dh, dh_dc], -1)
        lower = torch.cat([dc_dh, dc_dc], -1)
        J = torch.cat([upper, lower], -2)
        next_rows = torch.cat([o * tanh_c, c], -1)
        return next_rows, J

    def _compute_gates(
        self,
        hidden: Tensor,
        prepared: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return `i`, `f`, `g`, `o` and `c'`."""
        h, c = hidden.chunk(2, -1)
        a = prepared + self.weights.project_hidden(h)
        a_i, a_f, a_g, a_o = a.chunk(4, -1)
        i = torch.sigmoid(a_i)
        f = torch.sigmoid(a_f)
        g = torch.tanh(a_g)
        o = torch.sigmoid(a_o)
        return i, f, g, o, f * c + i * g


@final
@dataclass(frozen=True)
class ElmanCell(Cell):
    """`torch.nn.RNNCell`: `h' = tanh(W x + b + U h + b')`, or `relu` of it."""

    weights: CellWeights
    relu: bool = False

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return self.weights.project_inputs(inputs)

    def step_rows(self, hidden: Tensor, prepared: Tensor) -> Tensor:
        inner = prepared + self.weights.project_hidden(hidden)
        if self.relu:
            return torch.relu(inner)
        return torch.tanh(inner)

    def step_with_jacobian(
        self,
        hidden: Tensor,
        prepared: Tensor,
    ) -> tuple[Tensor, Tensor]:
        next_rows = self.step_rows(hidden, prepared)
        if self.relu:
            scale = (next_rows > 0).to(next_rows)
        else:
            scale = 1 - next_rows * next_rows
        return next_rows, _add_scaled_rows((scale, self.weights.hidden))


TORCH_CELLS: dict[str, Callable[[CellWeights], Cell]] = {  # by the mode of a module of torch.nn
    "GRU": GatedRecurrentCell,
    "LSTM": LongShortTermCell,
    "RNN_TANH": ElmanCell,
    "RNN_RELU": lambda weights: ElmanCell(weights, relu=True),
}


def adapt_cell(cell: Any, layout: RowLayout) -> Cell:
    """Return the cell for rows; those of `torch.nn` have Jacobians in closed form.

    Args:
        cell: a cell of `torch.nn`, a `UserCell`, or a function `(h, x) -> h`.
        layout: of the hidden state.
    """
    user_cell = cell
    if not isinstance(cell, UserCell):
        user_cell = UserCell.from_callable(cell)
    mode = find_mode(unwrap_cell(user_cell.cell))
    if mode is None:
        return FunctionCell(user_cell, layout)
    inner = unwrap_cell(user_cell.cell)
    apply_weight_hooks(inner)
    return TORCH_CELLS[mode](CellWeights.from_cell(inner))


def find_mode(inner: Any) -> str | None:
    """Return the kind of a cell that runs the forward of `torch.nn`; None of any other."""
    if not isinstance(inner, nn.RNNCellBase) or "forward" in inner.__dict__:
        return None
    forward = type(inner).forward
    if forward is nn.RNNCell.forward:
        return f"RNN_{inner.nonlinearity}".upper()
    return {nn.GRUCell.forward: "GRU", nn.LSTMCell.forward: "LSTM"}.get(forward)


def _add_scaled_rows(*terms: tuple[Tensor, Tensor]) -> Tensor:
    """Return the sum of `diag(scale) M`, `(*, H, H)`, laid out as the scales are."""
    has_elements_first = terms[0][0].stride(-1) != 1
    factors = []
    for scale, matrix in terms:
        if has_elements_first:
            factors.append(_move_elements_first(scale, matrix))
        else:
            factors.append((scale.unsqueeze(-1), matrix))
    scale, matrix = factors[0]
    total = scale * matrix
    for scale, matrix in factors[1:]:
        total.addcmul_(scale, matrix)
    if has_elements_first:
        return total.movedim((0, 1), (-2, -1))
    return total


def _move_elements_first(scale: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors with their elements first."""
    batch_axes = [1] * (scale.dim() - 1)
    return scale.movedim(-1, 0).unsqueeze(1), matrix.reshape(*matrix.shape, *batch_axes)
