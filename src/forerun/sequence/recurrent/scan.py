"""scan: the hidden states of any recurrent cell, all steps at once, with their gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack

from torch import Tensor, nn

from forerun.engine.backends import Local
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.rows import stack_states
from forerun.engine.solution import Solution
from forerun.sequence.eval_mode import check_eval_mode
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.job import RecurrenceJob
from forerun.sequence.recurrent.loop_choice import LoopChoice
from forerun.sequence.recurrent.plain_loop import PlainLoop
from forerun.sequence.recurrent.torch_cells import adapt_cell
from forerun.sequence.recurrent.validation import check_cell, check_inputs

DEFAULT_JACOBIAN_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class ScanSolution(Solution):
    """The states of a recurrence, and the run that found them; the notes say why the plain loop was taken, if it was.

    Attributes:
        hidden: `h_1 .. h_T`, a tree like the first state with a leading axis of `T`; differentiable.
    """

    hidden: Tree

    @property
    def value(self) -> Tree:
        """The hidden states."""
        return self.hidden


def scan(
    cell: Callable[[Any, Any], Any] | Cell,
    h0: Tree,
    xs: Tree,
    *,
    max_bytes: int = DEFAULT_JACOBIAN_BYTES,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> ScanSolution:
    """Return the states of `h_{t+1} = cell(h_t, x_t)`, computed many steps at a time.

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
        max_bytes: what Jacobians may take, forth and back.
        options: how to solve, as one object.
        keywords: the options one by one, as for `forerun.solve`. `method`: `Newton()` for states of up to some 64
            elements, `QuasiNewton()` for larger ones whose elements act mostly on themselves, `Damped(Newton())` where
            Newton's path runs away. None, the default, chooses: the plain loop for short sequences and large states,
            otherwise what a trial on some steps says; and where Newton takes longer than the loop would, the loop takes
            over. `window`: by default as many steps as `max_bytes` allow. `tolerance`: by default 64 roundings of the
            dtype, of states of size one. A callback is not called by the plain loop.

    Raises:
        TypeError: `xs` is packed, or the tensors are of several dtypes or devices.
        ValueError: there are no steps, the cell is in training mode with dropout, answers twice differently, returns
            another shape than it gets, or `Newton()` cannot hold the Jacobian of a single step.
    """
    options = SolveOptions.gather(options, keywords)
    length = check_inputs(h0, xs)
    if isinstance(cell, nn.Module):
        check_eval_mode(cell, "cell")
    layout = RowLayout.from_tree(h0, batch_dims=1, name="state")
    row_cell = cell
    if not isinstance(row_cell, Cell):
        row_cell = adapt_cell(row_cell, layout)
    prepared = row_cell.prepare_inputs(xs)
    start = layout.pack(h0)
    check_cell(row_cell, start.detach(), prepared)
    job = RecurrenceJob(row_cell, start, prepared, length, max_bytes)
    settled = options.over(job.default_options(options.method))
    if options.method is not None:
        return _differentiate(job, layout, job.solve_path(settled))
    loop_inputs = xs
    if row_cell is cell:
        loop_inputs = prepared
    loop = PlainLoop(cell, layout, h0, loop_inputs)
    return _solve_or_loop(job, loop, settled)


def _solve_or_loop(
    job: RecurrenceJob,
    loop: PlainLoop,
    options: SolveOptions,
) -> ScanSolution:
    """Return the states by Newton or by the plain loop, whichever should be quicker."""
    settings = options.settled()
    if not isinstance(settings.backend, Local):
        raise ValueError(
            f"method=None lets every rank of {settings.backend!r} measure for itself, and they may choose differently; "
            "write method=forerun.Newton()"
        )
    choice = LoopChoice(job, loop.take_first_step, settings.window)
    reason = choice.declines(job.length)
    if reason is not None:
        start_time = time.perf_counter()
        hidden = loop.run_steps(job.length)
        seconds = time.perf_counter() - start_time
        solution = loop.describe_run(hidden, job.length, seconds=seconds, note=reason)
        return ScanSolution(**vars(solution), hidden=hidden)
    solution = job.solve_path(replace(options, window=choice))
    choice.remember_run(solution.seconds.total)
    return _differentiate(job, loop.layout, solution)


def _differentiate(
    job: RecurrenceJob,
    layout: RowLayout,
    solution: Solution,
) -> ScanSolution:
    """Return the solution of a path with its states as they depend on what the job was made of."""
    assert solution.states is not None, "job.solve_path keeps them"
    path: Tensor = stack_states(solution.states)
    hidden = layout.unpack(job.differentiate_path(path))
    return ScanSolution(**vars(solution), hidden=hidden)
