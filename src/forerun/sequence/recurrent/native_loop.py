"""The loop over a cell of `torch.nn` as one native kernel, and its gradient as another.

On one processor no way in parallel over time beats it: a step of these small cells costs a tenth of a microsecond, and
what makes the loop slow are the calls of torch around it. It is the plain loop all the same: nothing is guessed.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from forerun.engine.numerics.native.loader import NATIVE_KERNELS
from forerun.engine.numerics.native.scans import read_array
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.plain_loop import PlainLoop
from forerun.sequence.recurrent.recurrence import refuse_second_derivative
from forerun.sequence.recurrent.torch_cells import (
    ElmanCell,
    GatedRecurrentCell,
    LongShortTermCell,
    adapt_cell,
    find_mode,
)
from forerun.sequence.recurrent.user_cell import unwrap_cell

LOOP_KERNELS: Final = "forerun.sequence.recurrent.cell_kernels"
COSTATE_KERNELS: Final = "forerun.sequence.recurrent.costate_kernels"
NATIVE_NOTE: Final = "The plain loop was taken, all its steps in one native kernel."
CALLS_OF_LOOP: Final = 4000  # of torch, that some hundred steps or more take in parallel; fewer, ten a step in order
MAX_PRODUCTS: Final = 2**18  # of a step's multiplications: beyond, those of torch are as quick
NATIVE_CELLS = GatedRecurrentCell | LongShortTermCell | ElmanCell


def loop_natively(
    cell: Cell,
    start: Tensor,
    prepared: Tensor,
    *,
    saved_calls: int | None = None,
) -> Tensor | None:
    """Return the states `(T, B, D)` after all steps, differentiable; None where there is no kernel for them.

    Args:
        cell: the cell.
        start: the first state, `(B, D)`.
        prepared: what it made of the inputs, `(T, B, ...)`.
        saved_calls: about how many calls of torch a kernel replaces; by default those of a single run.
    """
    if not isinstance(cell, NATIVE_CELLS):
        return None
    hidden, bias = cell.weights.hidden, cell.weights.bias_hidden
    if not 0 < len(start) * hidden.numel() <= MAX_PRODUCTS or not _fits(cell, start, prepared):
        return None
    if saved_calls is None:
        saved_calls = min(10 * len(prepared), CALLS_OF_LOOP)
    if bias is None:
        bias = hidden.new_zeros(len(hidden))
    tensors = [prepared, start, hidden, bias]
    detached = [tensor.detach() for tensor in tensors]
    if NATIVE_KERNELS.find_kernels(detached, saved_calls, LOOP_KERNELS) is None:
        return None
    if not torch.is_grad_enabled():
        tensors = detached
    states: Tensor = _NativeLoop.apply(_name_kernel(cell), *tensors)  # type: ignore[no-untyped-call]
    return states


def _fits(cell: NATIVE_CELLS, start: Tensor, prepared: Tensor) -> bool:
    """Return whether states and inputs have the shapes and dtype of the cell's weights: a kernel would not see it."""
    hidden = cell.weights.hidden
    width = hidden.shape[1]
    if isinstance(cell, LongShortTermCell):
        width *= 2
    if prepared.dim() != 3 or not len(prepared):
        return False
    shapes_fit = start.shape == (prepared.shape[1], width) and prepared.shape[2] == len(hidden)
    return shapes_fit and start.dtype == prepared.dtype == hidden.dtype


def adapt_natively(cell: Any, loop: PlainLoop) -> Cell | None:
    """Return a cell of `torch.nn`, as its rows are computed; None for others, and where hooks or weights need a call.

    Args:
        cell: the user's.
        loop: over it.
    """
    if not NATIVE_KERNELS.may_load:
        return None
    if isinstance(cell, Cell):
        return cell
    user_cell = loop.user_cell
    if user_cell is None or find_mode(unwrap_cell(cell)) is None or user_cell.describe_hooks() is not None:
        return None
    inner = unwrap_cell(cell)
    if is_parametrized(inner) or inner._forward_pre_hooks:  # what sets its weights may change at every call
        return None
    if not _takes_inputs(inner, loop.xs):  # torch says what it takes
        return None
    return adapt_cell(user_cell, loop.layout)


def _takes_inputs(cell: nn.RNNCellBase, xs: Any) -> bool:
    """Return whether a cell of `torch.nn` takes inputs like these `(T, B, I)`."""
    if not isinstance(xs, Tensor) or xs.dim() != 3 or xs.shape[-1] != cell.input_size:
        return False
    return xs.dtype == cell.weight_hh.dtype and xs.device == cell.weight_hh.device


class _NativeLoop(torch.autograd.Function):
    """The loop as a function that autograd knows."""

    @staticmethod
    def forward(ctx: Any, kernel: str, *tensors: Tensor) -> Tensor:
        prepared, start, hidden, bias = tensors
        length, batch = prepared.shape[:2]
        path = start.new_empty(length + 1, *start.shape)
        path[0] = start
        keeps_gates = any(ctx.needs_input_grad)
        gates = start.new_empty(length if keeps_gates else 1, batch, _count_gates(kernel) * hidden.shape[1])
        loop = getattr(_load(LOOP_KERNELS), f"loop_{kernel}")
        loop(read_array(prepared), (read_array(hidden.T), read_array(bias)), path.numpy(), gates.numpy())
        ctx.kernel = kernel
        ctx.save_for_backward(path, gates, hidden)
        return path[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        path, gates, hidden = ctx.saved_tensors
        costates = torch.cat([torch.zeros_like(path[:1]), grads[0]])
        da = path.new_empty(*gates.shape[:2], len(hidden))
        du = torch.empty_like(da) if ctx.kernel == "gru" else da
        pull = getattr(_load(COSTATE_KERNELS), f"pull_{ctx.kernel}")
        pull(
            read_array(hidden),
            (read_array(path), read_array(gates)),
            costates.numpy(),
            (da.numpy(), du.numpy()),
        )
        rows = du.flatten(0, 1)
        before = path[:-1, :, : hidden.shape[1]].flatten(0, 1)
        return None, da, costates[0], rows.mT @ before, rows.sum(0)


def _load(source: str) -> ModuleType:
    """Return kernels that a run has been found worth loading."""
    kernels = NATIVE_KERNELS.load(source)
    assert kernels is not None, "numba is there"
    return kernels


def _name_kernel(cell: NATIVE_CELLS) -> str:
    if isinstance(cell, GatedRecurrentCell):
        return "gru"
    if isinstance(cell, LongShortTermCell):
        return "lstm"
    return "relu" if cell.relu else "tanh"


def _count_gates(kernel: str) -> int:
    """Return how many rows of gates a kernel keeps: those of a GRU, and what it multiplies by one of them."""
    return {"gru": 4, "lstm": 4}.get(kernel, 1)
