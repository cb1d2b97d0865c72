"""scan: the hidden states of any recurrent cell, all steps at once, with their gradient."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from forerun.engine.backends import Local
from forerun.engine.methods import Sequential
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.rows import stack_states
from forerun.engine.solution import Solution, Status
from forerun.engine.tolerance import rms
from forerun.sequence.eval_mode import check_eval_mode
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.job import RecurrenceJob
from forerun.sequence.recurrent.loop_choice import LoopChoice, decline_size
from forerun.sequence.recurrent.native_loop import NATIVE_NOTE, adapt_natively, loop_natively
from forerun.sequence.recurrent.obstacles import describe_obstacle, report_fallback
from forerun.sequence.recurrent.path_defects import describe_coarse_path
from forerun.sequence.recurrent.path_witness import PathWitness, settle_witness
from forerun.sequence.recurrent.plain_loop import PlainLoop
from forerun.sequence.recurrent.replica import CellReplicaRefused, FirstStep, prepare_replica, take_first_step
from forerun.sequence.recurrent.validation import check_inputs

NO_CELL_WITNESS_NOTE = "The cell was not called as a witness (witness=False)."
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
            dtype, of the size of each state. A callback is not called by the plain loop.

    Raises:
        TypeError: `xs` is packed, or the tensors are of several dtypes or devices.
        ValueError: there are no steps, the cell is in training mode with dropout, answers twice differently, returns
            another shape than it gets, or `Newton()` cannot hold the Jacobian of a single step.
    """
    options = SolveOptions.gather(options, keywords)
    length = check_inputs(h0, xs)
    if isinstance(cell, nn.Module):
        check_eval_mode(cell, "cell")
    loop = PlainLoop.from_cell(cell, h0, xs)
    obstacle = describe_obstacle([*tree_tensors(h0), *tree_tensors(xs)])
    if obstacle is not None:
        return _step_aside(loop, length, obstacle, options)
    try:
        native = _loop_natively(cell, loop, options)
    except CellReplicaRefused as refusal:
        return _refuse_replica(loop, length, refusal, options)
    if native is not None:
        return native
    first = take_first_step(loop)
    if first.changes_input:
        loop = loop.with_copies()
    reason = _decline_early(options, length, loop.layout.width)
    if reason is not None:
        return _take_loop(loop, length, [reason])
    try:
        job = _prepare_job(cell, loop, first, options=options, max_bytes=max_bytes)
        return _solve_or_loop(job, loop, options)
    except CellReplicaRefused as refusal:
        return _refuse_replica(loop, length, refusal, options)


def _refuse_replica(loop: PlainLoop, length: int, refusal: CellReplicaRefused, options: SolveOptions) -> ScanSolution:
    """Return the plain loop where the replica of a cell cannot stand for it, aloud."""
    note = f"The plain loop was taken: {refusal}."
    report_fallback(note, strict=bool(options.strict))
    return _take_loop(loop, length, [note])


def _loop_natively(cell: Any, loop: PlainLoop, options: SolveOptions) -> ScanSolution | None:
    """Return the states by the native loop over a cell of `torch.nn`, witnessed; None where it is not to be taken.

    Raises:
        CellReplicaRefused: the user's own cell gives something else.
    """
    if options.method is not None or options.callback is not None:
        return None
    if not isinstance(options.backend or Local(), Local):
        return None
    start_time = time.perf_counter()
    start = loop.layout.pack(loop.h0)
    replica = adapt_natively(cell, loop)
    if replica is None:
        return None
    prepared = loop.xs if replica is cell else replica.prepare_inputs(loop.xs)
    rows = loop_natively(replica, start, prepared)
    if rows is None or not math.isfinite(rows.detach().sum()):
        return None
    seconds = time.perf_counter() - start_time
    job = RecurrenceJob(replica, start, prepared, len(rows), DEFAULT_JACOBIAN_BYTES)
    solution = loop.describe_run(loop.layout.unpack(rows), len(rows), seconds=seconds, notes=[NATIVE_NOTE])
    before = torch.cat([start.unsqueeze(0), rows[:-1]]).detach()
    return _witness_states(job, loop, options, solution, before=before, rows=rows)


def _decline_early(options: SolveOptions, length: int, width: int) -> str | None:
    """Say why the plain loop is taken before a replica is made; None where one is."""
    if isinstance(options.method, Sequential) and options.callback is None:
        return "The plain loop was taken, as method=Sequential() asks."
    if options.method is not None:
        return None
    backend = options.backend
    if backend is not None and not isinstance(backend, Local):
        raise ValueError(
            f"method=None lets every rank of {backend!r} measure for itself, and they may choose differently; "
            "write method=forerun.Newton()"
        )
    return decline_size(length, width)


def _prepare_job(
    cell: Any,
    loop: PlainLoop,
    first: FirstStep,
    *,
    options: SolveOptions,
    max_bytes: int,
) -> RecurrenceJob:
    """Return the recurrence of a cell, after one step of its replica was held against the user's own."""
    witness = settle_witness(options, loop.layout.pack(loop.h0))
    replica = prepare_replica(cell, loop, first, witness)
    prepared = loop.xs
    if replica is not cell:
        prepared = replica.prepare_inputs(loop.xs)
    start = loop.layout.pack(loop.h0)
    length = len(tree_tensors(loop.xs)[0])
    return RecurrenceJob(
        replica,
        start,
        prepared,
        length,
        max_bytes,
        closes_over_gradients=first.requires_grad,
        smallest_start=_measure_smallest(start, loop.layout.pack(first.output)),
    )


def _measure_smallest(start: Tensor, second: Tensor) -> float:
    """Return the size of the first states, of the sample where they are smallest; 0 where all are zero."""
    sizes = torch.maximum(rms(start.detach()), rms(second))
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return 0.0
    return float(sizes.min())


def _solve_or_loop(job: RecurrenceJob, loop: PlainLoop, options: SolveOptions) -> ScanSolution:
    """Return the states by Newton or by the plain loop, whichever should be quicker.

    Raises:
        CellReplicaRefused: the user's own cell disagrees with what was solved.
    """
    settled = options.over(job.default_options(options.method))
    if options.method is not None:
        return _finish_path(job, loop, settled, job.solve_path(settled))
    choice = LoopChoice(job, loop.run_steps, settled.settled().window)
    reason = choice.declines(job.length)
    if reason is not None:
        return _take_loop(loop, job.length, [reason])
    solution = job.solve_path(replace(settled, window=choice))
    choice.remember_run(solution.seconds.total)
    return _finish_path(job, loop, settled, solution)


def _finish_path(
    job: RecurrenceJob,
    loop: PlainLoop,
    options: SolveOptions,
    solution: Solution,
) -> ScanSolution:
    """Return the states of a solved path as they depend on what the job was made of, witnessed.

    Raises:
        CellReplicaRefused: the user's own cell gives something else.
    """
    if solution.status is Status.NONFINITE:
        note = f"The plain loop was taken: step {solution.step} gives values that are not finite."
        return _take_loop(loop, job.length, [note])
    assert solution.states is not None, "job.solve_path keeps them"
    path: Tensor = stack_states(solution.states)
    rows = job.differentiate_path(path)
    coarse = None
    if job.measures_by_size(options):
        coarse = describe_coarse_path(path[1:], rows.detach(), loop.layout)
    if coarse is not None:
        return _take_loop(loop, job.length, [f"The plain loop was taken: {coarse}."])
    return _witness_states(job, loop, options, solution, before=path[: len(rows)], rows=rows)


def _witness_states(
    job: RecurrenceJob,
    loop: PlainLoop,
    options: SolveOptions,
    solution: Solution,
    *,
    before: Tensor,
    rows: Tensor,
) -> ScanSolution:
    """Return the states `rows` after the steps that began with `before`, witnessed.

    Raises:
        CellReplicaRefused: the user's own cell gives something else.
    """
    witness = settle_witness(options, rows)
    fields = vars(solution)
    if witness is None:
        fields = {**fields, "notes": (*solution.notes, NO_CELL_WITNESS_NOTE)}
    else:
        count, difference = PathWitness(loop, job, witness).compare_states(
            before, rows, is_loop=solution.status is Status.SEQUENTIAL
        )
        if difference is not None:
            raise CellReplicaRefused(difference)
        fields = {**fields, "witnessed": count}
    return ScanSolution(**fields, hidden=loop.layout.unpack(rows))


def _step_aside(loop: PlainLoop, length: int, obstacle: str, options: SolveOptions) -> ScanSolution:
    """Return the plain loop where steps in parallel have no place; aloud, where a method was asked for."""
    note = f"The plain loop was taken: {obstacle}."
    if options.method is not None and not isinstance(options.method, Sequential):
        report_fallback(note, strict=bool(options.strict))
    return _take_loop(loop, length, [note])


def _take_loop(loop: PlainLoop, length: int, notes: Sequence[str]) -> ScanSolution:
    """Return the states of the plain loop."""
    start_time = time.perf_counter()
    hidden = loop.run_steps(length)
    seconds = time.perf_counter() - start_time
    solution = loop.describe_run(hidden, length, seconds=seconds, notes=notes)
    return ScanSolution(**vars(solution), hidden=hidden)
