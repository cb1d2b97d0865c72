"""The sweep: advance in order over the window, each output corrected by its slope.

With `u_i` the input that step `i` was evaluated at, `o_i` its output and `S_i` its slope:

    x_{i+1} = advance(i, x_i, o_i + S_i (observe(x_i) - u_i))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.scan import are_tiny, by_element, scan
from forerun.engine.numerics.tree import Layout, Tree, describe, tensors, tree_map
from forerun.engine.process import Process
from forerun.engine.rows.affine_maps import AffineCache, AffineMaps


class Problem:
    """A process in rows: what solving it looks like to methods, `(W, *batch, D)` in, `(W, *batch, E)` out.

    The layout of the outputs is learnt from the first evaluation.
    """

    def __init__(self, process: Process, state: Tree) -> None:
        self.process = process
        self.inputs = Layout.of(process.observe(state), batch_dims=process.batch_dims, name="input")
        self.maps = AffineCache(process, self.inputs)
        self._outputs: Layout | None = None

    @property
    def outputs(self) -> Layout:
        """How outputs lie in rows."""
        assert self._outputs is not None, "no output before the first evaluation"
        return self._outputs

    @property
    def length(self) -> int:
        return self.process.length

    @property
    def sloped(self) -> bool:
        """Whether a slope can map an input's move to an output's: both rows are equally wide."""
        return self.inputs.width == self.outputs.width

    def steps(self, start: int, stop: int) -> Tensor:
        """The steps `start .. stop-1`, int64 on the inputs' device."""
        return torch.arange(start, stop, device=self.inputs.device)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Output rows `(W, *batch, E)` of input rows `(W, *batch, D)`."""
        return self.packed(self.process.evaluate(steps, self.inputs.unpack(inputs)), len(steps))

    def packed(self, outputs: Tree, count: int) -> Tensor:
        """Output rows `(count, *batch, E)` of what `evaluate` returned."""
        if self._outputs is None:
            self._outputs = self._learn(outputs, count)
        return self._outputs.pack(outputs, count)

    def known(self, output: Tree) -> Tensor:
        """The row `(1, *batch, E)` of an output that is known before any evaluation."""
        outputs = tree_map(lambda leaf: leaf.unsqueeze(0), output)
        if self._outputs is None:
            self._outputs = self._learn(outputs, 1)
        return self._outputs.pack(outputs, 1)

    def _learn(self, outputs: Tree, count: int) -> Layout:
        if any(leaf.dim() == 0 or len(leaf) != count for leaf in tensors(outputs)):
            raise ValueError(
                f"evaluate was given {count} step(s) and returned {describe(outputs)}; every tensor it returns must "
                f"begin with that axis of {count}, as the inputs do; for a function of one "
                "step use Process.from_step(f, length)"
            )
        first = tree_map(lambda leaf: leaf[0], outputs)
        layout = Layout.of(first, batch_dims=self.process.batch_dims, name="output")
        if layout.batch != self.inputs.batch or layout.device != self.inputs.device:
            raise ValueError(
                f"evaluate returned {describe(outputs)} on {layout.device}, but its inputs have batch axes "
                f"{list(self.inputs.batch)} on {self.inputs.device}; keep both, or set batch_dims = 0"
            )
        return layout

    def observe(self, state: Tree) -> Tensor:
        """The input row `(*batch, D)` of a state."""
        return self.inputs.pack(self.process.observe(state))

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        """The next state, from an output row `(*batch, E)`."""
        return self.process.advance(step, state, self.outputs.unpack(output))


WIDE = 4096  # elements of a step from which on a sweep is bound by memory


@dataclass(frozen=True)
class SweepResult:
    """What a sweep over `W` steps leaves behind."""

    states: Sequence[Tree]  # x_{start+1} .. x_stop
    inputs: Tensor  # (W + 1, *batch, D): the inputs of x_start .. x_stop
    outputs: Tensor  # (W, *batch, E): the outputs as corrected
    moves: Tensor  # (W, *batch, D): how far each input lies from the one that was evaluated


def apply(slopes: Tensor, moves: Tensor) -> Tensor:
    """`S m` for scalar `(..., 1)`, diagonal `(..., D)` or dense `(..., E, D)` slopes and moves `(..., D)`."""
    if slopes.dim() == moves.dim():
        return slopes * moves
    multiply = by_element if are_tiny(slopes.shape[-1], slopes.numel(), slopes.device) else torch.matmul
    return multiply(slopes, moves.unsqueeze(-1)).squeeze(-1)


def sweep(
    problem: Problem, start: int, state: Tree, *, outputs: Tensor, slopes: Tensor | None = None, around: Tensor
) -> SweepResult:
    """Advance from the state of step `start` over the steps of `outputs`.

    Args:
        outputs: `(W, *batch, E)`, as evaluated at the inputs `around`.
        slopes: scalar `(W, *batch, 1)`, diagonal `(W, *batch, D)` or dense `(W, *batch, E, D)`; None is zero.
        around: `(W, *batch, D)`, the inputs at which the outputs were evaluated.
    """
    maps = problem.maps(start, len(outputs))
    if maps is None:
        return _in_order(problem, start, state, outputs=outputs, slopes=slopes, around=around)
    return _by_scan(problem, maps, state, outputs=outputs, slopes=slopes, around=around)


def _in_order(
    problem: Problem, start: int, state: Tree, *, outputs: Tensor, slopes: Tensor | None, around: Tensor
) -> SweepResult:
    states, used = [], []
    seen = problem.observe(state)
    inputs, moves = [seen], []
    for step, output, slope, anchor in zip(
        range(start, start + len(outputs)),
        outputs.unbind(),
        outputs.unbind() if slopes is None else slopes.unbind(),
        around.unbind(),
        strict=True,
    ):
        moves.append(seen - anchor)
        used.append(output if slopes is None else output + apply(slope, moves[-1]))
        state = problem.advance(step, state, used[-1])
        seen = problem.observe(state)
        states.append(state)
        inputs.append(seen)
    corrected = outputs if slopes is None else torch.stack(used)
    return SweepResult(states, torch.stack(inputs), corrected, torch.stack(moves) if moves else around)


def _by_scan(
    problem: Problem, maps: AffineMaps, state: Tree, *, outputs: Tensor, slopes: Tensor | None, around: Tensor
) -> SweepResult:
    """The same as one scan: `x_{i+1} = (a_i + b_i S_i) x_i + b_i (o_i - S_i u_i) + c_i`."""
    first = problem.observe(state)
    if first.numel() >= WIDE and not (slopes is not None and slopes.shape[-1] > 1):
        return _in_cache(problem, maps, first, outputs=outputs, slopes=slopes, around=around)
    propagator, plain = maps.propagator(slopes), outputs
    if slopes is not None and len(outputs):
        plain = outputs - apply(slopes, around)
        # the first step as it is written above: `S x - S u` would lose what a large slope multiplies
        plain[0] = outputs[0] + apply(slopes[0], first - around[0])
        propagator[:1] = maps.since(maps.start, 1).propagator(torch.zeros_like(slopes[:1]))
    shift = maps.gain * plain if maps.shift is None else torch.addcmul(maps.shift, maps.gain, plain)
    inputs = torch.cat([first.unsqueeze(0), scan(propagator, shift, first, differentiable=False)])
    moves = inputs[:-1] - around
    corrected = outputs if slopes is None else outputs + apply(slopes, moves)
    return SweepResult(Rows(problem.inputs, inputs[1:]), inputs, corrected, moves)


def _in_cache(
    problem: Problem, maps: AffineMaps, first: Tensor, *, outputs: Tensor, slopes: Tensor | None, around: Tensor
) -> SweepResult:
    """The same row by row, for rows so wide that time is memory traffic: each is finished while it is in the cache."""
    inputs = outputs.new_empty((len(outputs) + 1, *first.shape))
    moves, corrected = torch.empty_like(inputs[1:]), outputs if slopes is None else torch.empty_like(outputs)
    inputs[0] = first
    rows = inputs.unbind()
    for index, (keep, gain) in enumerate(zip(maps.keep.flatten(), maps.gain.flatten(), strict=True)):
        state, following, move, used = rows[index], rows[index + 1], moves[index], corrected[index]
        torch.sub(state, around[index], out=move)
        if slopes is not None:
            torch.addcmul(outputs[index], slopes[index], move, out=used)
        torch.mul(state, keep, out=following)
        following.addcmul_(used, gain)
        if maps.shift is not None:
            following.add_(maps.shift[index])
    return SweepResult(Rows(problem.inputs, inputs[1:]), inputs, corrected, moves)


class Rows(Sequence[Tree]):
    """States that are their own inputs, unpacked from rows when asked for."""

    def __init__(self, layout: Layout, rows: Tensor) -> None:
        self.layout = layout
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            return Rows(self.layout, self.rows[index])
        return self.layout.unpack(self.rows[index])


def copied(states: Sequence[Tree]) -> Sequence[Tree]:
    """The same states, in memory of their own: a state may be a view into a whole window, which would live on."""
    if isinstance(states, Rows):
        return Rows(states.layout, states.rows.clone())
    return [tree_map(torch.clone, state) for state in states]


def stacked(states: Sequence[Tree]) -> Tree:
    """States as one tree, with a leading axis over them; without unpacking those that lie in rows."""
    parts = states.parts if isinstance(states, Joined) else [states]
    found = [part.layout.unpack(part.rows) if isinstance(part, Rows) else _piled(part) for part in parts]
    return found[0] if len(found) == 1 else pytree.tree_map(_cat, *found)


def _piled(states: Sequence[Tree]) -> Tree:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *states)


def _cat(*leaves: Any) -> Any:
    return torch.cat(leaves) if isinstance(leaves[0], Tensor) else leaves[0]


class Joined(Sequence[Tree]):
    """Sequences one after another, without unpacking them."""

    def __init__(self, *parts: Sequence[Tree]) -> None:
        nested = [part.parts if isinstance(part, Joined) else [part] for part in parts]
        self.parts: list[Sequence[Tree]] = [part for inner in nested for part in inner if len(part)]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self))
            return Joined(*self._cut(first, last))
        index = range(len(self))[index]
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise AssertionError("an index within the length lies in a part")

    def _cut(self, first: int, last: int) -> list[Sequence[Tree]]:
        found = []
        for part in self.parts:
            found.append(part[max(first, 0) : max(last, 0)])
            first, last = first - len(part), last - len(part)
        return found
