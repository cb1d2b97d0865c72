"""The cells of `torch.nn` in parts that `torch.func` can batch and differentiate, as it cannot its fused kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

Weight = Tensor | None
GRU_GATES = 3
LSTM_GATES = 4


@final
class DecomposedCells(TorchFunctionMode):
    """A mode in which `torch.nn.GRUCell`, `LSTMCell` and `RNNCell` compute their gates by ordinary functions."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        function = DECOMPOSITIONS.get(func, func)
        return function(*args, **(kwargs or {}))


def step_gru(
    x: Tensor,
    h: Tensor,
    *weights: Weight,
) -> Tensor:
    """Return the next state of a GRU."""
    inward, hidden = _project_gates(x, h, weights)
    a_r, a_z, a_n = inward.chunk(GRU_GATES, -1)
    u_r, u_z, u_n = hidden.chunk(GRU_GATES, -1)
    r = torch.sigmoid(a_r + u_r)
    z = torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    return n + z * (h - n)


def step_lstm(
    x: Tensor,
    state: Sequence[Tensor],
    *weights: Weight,
) -> tuple[Tensor, Tensor]:
    """Return the next state `(h, c)` of an LSTM."""
    h, c = state
    inward, hidden = _project_gates(x, h, weights)
    gates = inward + hidden
    i, f, g, o = gates.chunk(LSTM_GATES, -1)
    kept_share = torch.sigmoid(f)
    added = torch.sigmoid(i) * torch.tanh(g)
    next_c = kept_share * c + added
    next_h = torch.sigmoid(o) * torch.tanh(next_c)
    return next_h, next_c


def step_tanh(
    x: Tensor,
    h: Tensor,
    *weights: Weight,
) -> Tensor:
    """Return the next state of an Elman cell."""
    inward, hidden = _project_gates(x, h, weights)
    return torch.tanh(inward + hidden)


def step_relu(
    x: Tensor,
    h: Tensor,
    *weights: Weight,
) -> Tensor:
    """Return the next state of an Elman cell with rectified units."""
    inward, hidden = _project_gates(x, h, weights)
    return torch.relu(inward + hidden)


DECOMPOSITIONS: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {
    torch.gru_cell: step_gru,
    torch.lstm_cell: step_lstm,
    torch.rnn_tanh_cell: step_tanh,
    torch.rnn_relu_cell: step_relu,
}


def _project_gates(
    x: Tensor,
    h: Tensor,
    weights: Sequence[Weight],
) -> tuple[Tensor, Tensor]:
    """Return `W x + b` and `U h + b'`."""
    inward, hidden = weights[:2]
    b_inward, b_hidden = None, None
    if len(weights) > 2:
        b_inward, b_hidden = weights[2:]
    assert inward is not None, "a cell has weights"
    assert hidden is not None, "a cell has weights"
    a = linear(x, inward, b_inward)
    u = linear(h, hidden, b_hidden)
    return a, u
