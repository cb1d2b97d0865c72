"""Blocks: the window in stretches that are walked side by side, each from its state of the round before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods.base import Evaluate, StepEvaluations, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import JoinedStates, RowStates, SweepResult

FAR = 1e15  # the distance of values that cannot be near: beyond any tolerance, and its square is finite in float32


@dataclass(frozen=True)
class Walk:
    """What walking the blocks leaves behind.

    Attributes:
        begins: slots of the window where blocks begin.
        before: the old states that they were walked from, one a block.
        states: `x_{start+1} .. x_stop`, each exact given the old state that its block began with.
        inputs: `(W, *batch, D)`, as evaluated.
        outputs: `(W, *batch, E)`.
    """

    begins: Sequence[int]
    before: Sequence[Tree]
    states: Sequence[Tree]
    inputs: Tensor
    outputs: Tensor

    @property
    def ends(self) -> list[Tree]:
        """The states that the blocks arrived at."""
        return [self.states[begin - 1] for begin in self.begins[1:]] + [self.states[-1]]


def walk(front: WindowState, evaluate: Evaluate, size: int) -> Walk:
    """Walk every block of `size` steps, the blocks together and the steps of a block in order: `size` rounds."""
    problem, old = front.problem, _old_states(front)
    count = len(old)
    begins = range(0, count, size)
    before = [old[begin] for begin in begins]
    current, states = list(before), [front.state] * count
    inputs = torch.empty_like(front.inputs[:count])
    outputs: list[Tensor] = [inputs] * count
    for place in range(min(size, count)):
        slots = range(place, count, size)
        seen = current[: len(slots)]
        rows = torch.stack([problem.observe(state) for state in seen]) if place else front.inputs[:count:size]
        inputs[place::size] = rows
        found = evaluate(front.steps[place:count:size], rows)
        for block, (slot, output) in enumerate(zip(slots, found.unbind(), strict=True)):
            outputs[slot] = output
            states[slot] = current[block] = problem.advance(front.start + slot, current[block], output)
    return Walk(begins, before, states, inputs, torch.stack(outputs))


def joined(front: WindowState, walked: Walk, ends: Sequence[Tree]) -> WindowUpdate:
    """The iterate whose blocks end in the states `ends`; a block moved as far as the state that it begins with."""
    problem = front.problem
    states = list(walked.states)
    inputs = torch.cat([walked.inputs, problem.observe(ends[-1]).unsqueeze(0)])
    states[-1] = ends[-1]
    moves = torch.zeros_like(walked.inputs)
    for begin, before, now in zip(walked.begins[1:], walked.before[1:], ends[:-1], strict=True):
        states[begin - 1] = now
        inputs[begin] = problem.observe(now)
        moves[begin] = inputs[begin] - walked.inputs[begin]
        if not _is_input(front):
            hidden = _apart(now, before)
            moves[begin] = torch.where(hidden <= moves[begin].abs(), moves[begin], hidden)  # nan is taken over
    return WindowUpdate(
        sweep=SweepResult(states, inputs, walked.outputs, moves),
        evaluations=StepEvaluations(front.start, walked.inputs, walked.outputs),
    )


def check_size(name: str, size: int) -> None:
    """Refuse blocks without steps."""
    if size < 1:
        raise ValueError(f"{name}({size}) has no step in a block; pass 1 or more")


def _is_input(front: WindowState) -> bool:
    return front.problem.process.observe(front.state) is front.state


def _old_states(front: WindowState) -> Sequence[Tree]:
    """The states to walk from, as far as they are known: those of the inputs to be evaluated.

    A guess may have replaced the inputs. Where the state holds more, such as a counter, a guess of inputs alone repeats
    the state of another step, with which `advance` must not be called.
    """
    if _is_input(front):
        return JoinedStates([front.state], RowStates(front.problem.input_layout, front.inputs[1:]))
    states = front.states
    return states[: next((slot for slot in range(1, len(states)) if states[slot] is states[slot - 1]), len(states))]


def _apart(left: Tree, right: Tree) -> Tensor:
    """The largest distance between two states, over what `observe` leaves out as well.

    Two steps may see the same input in states that differ; only floating numbers can be a little apart.
    """
    sizes = []
    leaves = pytree.tree_leaves(left)
    for a, b in zip(leaves, pytree.tree_leaves(right), strict=True):
        if not isinstance(a, Tensor):
            sizes.append(torch.tensor(0.0 if a == b else FAR))
        elif a.numel():
            sizes.append((a - b).abs().max() if a.is_floating_point() else torch.where((a == b).all(), 0.0, FAR))
    device = next(leaf.device for leaf in leaves if isinstance(leaf, Tensor))
    return torch.stack([size.to(device, torch.float64) for size in sizes]).max()
