"""scan: the hidden states of any recurrent cell, all steps at once, with their gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from forerun.engine.check import Check
from forerun.engine.methods import Method, Newton
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree
from forerun.engine.solution import Solution
from forerun.engine.tolerance import Absolute, Tolerance
from forerun.engine.windows import Full, Sliding, Window
from forerun.sequence.eval_mode import check_at_rest
from forerun.sequence.recurrent.cells import Cell, adapted
from forerun.sequence.recurrent.job import Loop, RecurrenceJob, learn, trial
from forerun.sequence.recurrent.validation import check_cell, check_inputs

ROUNDINGS = 64  # of the dtype: the tolerance


@dataclass(frozen=True)
class ScanSolution:
    """The states of a recurrence.

    Attributes:
        hidden: `h_1 .. h_T`, a tree like the first state with a leading axis of `T`; differentiable.
        solution: what it took; None where the plain loop was taken.
        note: why the plain loop was taken, or went on; empty where it was not.
    """

    hidden: Tree
    solution: Solution | None
    note: str = ""


def scan(
    cell: Callable[[Any, Any], Any] | Cell,
    h0: Tree,
    xs: Tree,
    *,
    method: Method | None = None,
    window: Window | None = None,
    tolerance: Tolerance | None = None,
    check: bool | Check = True,
    max_bytes: int = 2**30,
) -> ScanSolution:
    """The states of `h_{t+1} = cell(h_t, x_t)`, many steps at a time.

    The same as the loop, to a tolerance that is checked:

        for x in xs:
            h = cell(x, h)  # of torch.nn; a function of yours is called cell(h, x)

    Differentiable in `h0`, `xs` and whatever the cell closes over, by one reverse scan
    and one call of the cell (DEER: Lim et al., arXiv 2309.12252), in memory O(T).

    Args:
        cell: `torch.nn.GRUCell`, `LSTMCell` or `RNNCell`; or a function of one step `(h, x) -> h` for a batch, written
            in torch, that keeps nothing between its calls; or a `Cell`.
        h0: the first state, a tree of tensors `(B, ...)`; `(h, c)` for an LSTM.
        xs: the inputs, a tree of tensors `(T, B, ...)`.
        method: `Newton()` for states of up to some 64 elements, `QuasiNewton()` for larger ones whose elements act
            mostly on themselves, `Damped(Newton())` where Newton's path runs away. None to choose: the plain loop for
            short sequences and large states, otherwise what a trial on some steps says; and where Newton takes longer
            than the loop would, the loop takes over.
        window: steps in flight; None for as many as `max_bytes` allow.
        tolerance: None for 64 roundings of the dtype, of states of size one.
        check: see `forerun.solve`.
        max_bytes: what Jacobians may take, forth and back.

    Raises:
        TypeError: `xs` is packed, or the tensors are of several dtypes or devices.
        ValueError: there are no steps, the cell is in training mode with dropout, answers twice differently, returns
            another shape than it gets, or `Newton()` cannot hold the Jacobian of a single step.
    """
    length = check_inputs(h0, xs)
    if isinstance(cell, nn.Module):
        check_at_rest(cell, "cell")
    layout = RowLayout.from_tree(h0, batch_dims=1, name="state")
    rows = cell if isinstance(cell, Cell) else adapted(cell, layout)
    prepared, start = rows.prepare(xs), layout.pack(h0)
    check_cell(rows, start.detach(), prepared)
    job = RecurrenceJob(rows, start, prepared, length, max_bytes)
    own = Loop(cell, layout, h0, prepared if cell is rows else xs)
    declined, budget = ("", float("inf")) if method is not None else trial(job, lambda: own.run(1))
    if declined:
        return ScanSolution(own.run(length), None, declined)
    options = {
        "window": window or (Full() if method not in {None, Newton()} or job.span >= length else Sliding(job.span)),
        "tolerance": tolerance or Absolute(ROUNDINGS * torch.finfo(start.dtype).eps),
        "check": check,
    }
    begun = time.perf_counter()
    path, solution, note = job.solved(method or Newton(), budget, options)
    if method is None:
        learn(job, time.perf_counter() - begun)
    return ScanSolution(layout.unpack(job.lifted(path)), solution, note)
