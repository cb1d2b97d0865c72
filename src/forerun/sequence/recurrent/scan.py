"""scan: the hidden states of any recurrent cell, all steps at once, with their gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from forerun.engine.check import Check
from forerun.engine.methods import Method, Newton, Sequential
from forerun.engine.scan import scan as affine_scan
from forerun.engine.solution import Solution
from forerun.engine.solve import Event, solve
from forerun.engine.tolerance import Absolute, Tolerance
from forerun.engine.tree import Layout, Tree, describe, tensors, tree_map
from forerun.engine.window import Full, Sliding, Window
from forerun.sequence.recurrent.cells import Cell, adapted
from forerun.sequence.recurrent.recurrence import Recurrence, differentiable
from forerun.sequence.rest import check_at_rest

SHORT, WIDE = 64, 64  # steps, and elements of a hidden state, at which the plain loop is taken without a trial
TRIAL, ROUNDS, REPEATS = 512, 8, 3  # steps of the trial, rounds that Newton usually takes, times to measure
ROUNDINGS = 64  # of the dtype: the tolerance
KEPT = 6  # times the Jacobians of a window, that a round of Newton holds at once


@dataclass(frozen=True)
class Scanned:
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
) -> Scanned:
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
            another shape than it gets, or the Jacobian of a single step is larger than `max_bytes`.
    """
    length = _check_inputs(h0, xs)
    if isinstance(cell, nn.Module):
        check_at_rest(cell, "cell")
    layout = Layout.of(h0, batch_dims=1, name="state")
    rows = cell if isinstance(cell, Cell) else adapted(cell, layout)
    prepared, start = rows.prepare(xs), layout.pack(h0)
    _check_cell(rows, start.detach(), prepared)
    job = _Job(rows, start, prepared, length, max_bytes)
    declined = _why_loop(job) if method is None else ""
    if declined:
        return Scanned(layout.unpack(job.loop()), None, declined)
    options = {
        "window": window or (Full() if job.span >= length else Sliding(job.span)),
        "tolerance": tolerance or Absolute(ROUNDINGS * torch.finfo(start.dtype).eps),
        "check": check,
    }
    path, solution, note = job.solved(method, options)
    return Scanned(layout.unpack(job.lifted(path)), solution, note)


@dataclass(frozen=True)
class _Job:
    """A recurrence to be solved: rows of the first state `(B, D)`, and what the cell made of the inputs."""

    cell: Cell
    start: Tensor
    prepared: Tree
    length: int
    max_bytes: int

    @property
    def process(self) -> Recurrence:
        """Without its gradient."""
        return Recurrence(self.cell, _detached(self.prepared), self.length)

    @property
    def span(self) -> int:
        """Steps whose Jacobians fit `max_bytes`."""
        width = self.start.shape[-1]
        one = self.start.numel() * width * self.start.element_size()
        if one > self.max_bytes:
            raise ValueError(
                f"the Jacobian of a single step, {width} x {width} numbers for {len(self.start)} samples, takes "
                f"{one / 2**30:.3g} GiB, but max_bytes allows {self.max_bytes / 2**30:.3g} GiB, and the gradient needs "
                "it too; raise max_bytes, take fewer samples at a time, or the plain loop"
            )
        return max(self.max_bytes // (KEPT * one), 1)

    def loop(self) -> Tensor:
        """The plain loop, rows `(T, B, D)`."""
        hidden, found = self.start.unsqueeze(0), []
        for step in range(self.length):
            hidden = self.cell.step(hidden, _part(self.prepared, step, step + 1))
            found.append(hidden)
        return torch.cat(found)

    @torch.no_grad()
    def costs(self) -> tuple[float, float]:
        """Seconds of a step of the loop, and of one step of a round of Newton, from a trial."""
        process, start = self.process, self.start.detach()
        count = min(TRIAL, self.length, self.span)
        steps = torch.arange(count, device=start.device)
        rows = start.expand(count, *start.shape).contiguous()

        def several() -> None:
            slopes = process.jacobian(steps, rows)
            affine_scan(slopes, process.evaluate(steps, rows), start, differentiable=False)

        return _quickest(lambda: process.evaluate(steps[:1], rows[:1])), _quickest(several) / count

    def solved(self, method: Method | None, options: dict[str, Any]) -> tuple[Tensor, Solution, str]:
        """The path without its gradient, rows `(T + 1, B, D)`; `method` None for Newton, within the loop's time."""
        process, start = self.process, self.start.detach()
        budget = float("inf") if method is not None else self.length * self.costs()[0]
        method = Newton(process.jacobian, max_bytes=self.max_bytes) if method in {None, Newton()} else method
        begun = time.perf_counter()

        def late(event: Event) -> bool:
            return time.perf_counter() - begun > budget and event.step < self.length

        solution = solve(process, start, method=method, callback=late, path=True, **options)
        states = list(solution.path or [])
        if solution.status.done:
            return torch.stack(states), solution, ""
        note = f"the plain loop from step {solution.step} on: Newton had taken as long as the loop takes"
        rest = solve(process, start, method=Sequential(), resume=solution.checkpoint, path=True, **options)
        return torch.stack([*states, *(rest.path or [])[1:]]), rest, note

    def lifted(self, path: Tensor) -> Tensor:
        """The same path `(T, B, D)` as a differentiable function of all that it came from."""
        before = torch.cat([self.start.unsqueeze(0), path[1:-1]])  # the first with its gradient
        stepped = self.cell.step(before, self.prepared)
        if not stepped.requires_grad:
            return stepped
        fixed = before.detach()

        @torch.no_grad()
        def jacobian(first: int, stop: int) -> Tensor:
            return self.cell.jacobian(fixed[first:stop], _detached(_part(self.prepared, first, stop)))

        return differentiable(stepped, jacobian, self.span)


def _why_loop(job: _Job) -> str:
    """Why the plain loop should be quicker; empty where Newton should be."""
    width = job.start.shape[-1]
    if job.length < SHORT or width > WIDE:
        return f"the plain loop: {job.length} steps of {width} elements are not worth running ahead"
    single, each = job.costs()
    if ROUNDS * each < single:
        return ""
    return f"the plain loop: in a trial, {ROUNDS} rounds of Newton took {ROUNDS * each / single:.1f} times as long"


def _check_inputs(h0: Tree, xs: Tree) -> int:
    """The number of steps."""
    if isinstance(xs, PackedSequence):
        raise TypeError(
            "xs is a PackedSequence, whose sequences end at different steps; pad them, "
            "xs, lengths = torch.nn.utils.rnn.pad_packed_sequence(xs), and read hidden[lengths - 1, range(B)]"
        )
    states, inputs = tensors(h0), tensors(xs)
    if not states or not inputs or any(leaf.dim() < 2 for leaf in inputs) or any(leaf.dim() < 2 for leaf in states):
        raise ValueError(
            f"h0 is {describe(h0)} and xs is {describe(xs)}; pass h0 (B, ...) and xs (T, B, ...), of one sequence "
            "h0.unsqueeze(0) and xs.unsqueeze(1)"
        )
    if len({leaf.shape[0] for leaf in inputs}) > 1 or {leaf.shape[1] for leaf in inputs} != {len(s) for s in states}:
        raise ValueError(
            f"xs is {describe(xs)} for h0 {describe(h0)}: steps or samples differ; pass xs (T, B, ...) and h0 (B, ...)"
        )
    if not len(inputs[0]):
        raise ValueError("xs has no steps; pass (T, B, ...) with T of 1 or more")
    kinds = {(leaf.dtype, leaf.device) for leaf in (*states, *inputs) if leaf.is_floating_point()}
    if len(kinds) > 1:
        raise TypeError(f"h0 is {describe(h0)} and xs is {describe(xs)}; pass one dtype and device, as h0.to(xs)")
    return len(inputs[0])


@torch.no_grad()
def _check_cell(cell: Cell, start: Tensor, prepared: Tree) -> None:
    """Refuse a cell that answers twice differently; the first step of the loop tells."""
    first = _part(prepared, 0, 1)
    one, other = (cell.step(start.unsqueeze(0), first) for _ in range(2))
    if one.shape != (1, *start.shape):
        raise ValueError(
            f"the cell made rows {list(one.shape[1:])} of a state {list(start.shape)}; return the next state, of the "
            "same shape"
        )
    if not torch.equal(one, other) and not bool(one.isnan().any()):
        raise ValueError(
            "the cell answers twice differently: it draws at random, or keeps something between its calls; call "
            "cell.eval(), or let the function take all it needs from its state and input"
        )


def _quickest(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def _part(tree: Tree, first: int, stop: int) -> Tree:
    return tree_map(lambda leaf: leaf[first:stop], tree)


def _detached(tree: Tree) -> Tree:
    return tree_map(torch.Tensor.detach, tree)
