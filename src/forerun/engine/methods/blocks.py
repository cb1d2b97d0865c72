"""Blocks: the window in blocks of steps that are walked side by side, each from its state of the round before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods.base import WindowState, WindowUpdate
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import JoinedStates, RowStates, SweepResult

FAR_APART = 1e15  # the distance of values that cannot be near: beyond any tolerance, and its square finite in float32


@dataclass(frozen=True)
class BlockWalk:
    """What walking the blocks of a window gives.

    Attributes:
        first_slots: slots of the window where blocks begin.
        old_states: the states of the round before that the blocks were walked from, one a block.
        states: `x_{start+1} .. x_stop`, each exact given the old state that its block began with.
        inputs: `(W, *batch, D)`, as evaluated.
        outputs: `(W, *batch, E)`.
    """

    first_slots: Sequence[int]
    old_states: Sequence[Tree]
    states: Sequence[Tree]
    inputs: Tensor
    outputs: Tensor

    @property
    def end_states(self) -> list[Tree]:
        """The states that the blocks arrived at."""
        inner_ends = [self.states[slot - 1] for slot in self.first_slots[1:]]
        return [*inner_ends, self.states[-1]]


def walk_blocks(window_state: WindowState, evaluate: Evaluate, size: int) -> BlockWalk:
    """Walk every block of `size` steps, the blocks together and the steps of a block in order: `size` rounds."""
    problem = window_state.problem
    window_states = _usable_states(window_state)
    count = len(window_states)
    first_slots = range(0, count, size)
    old_states = [window_states[slot] for slot in first_slots]
    current_states = list(old_states)
    states = [window_state.state] * count
    inputs = torch.empty_like(window_state.inputs[:count])
    outputs: list[Tensor] = [inputs] * count
    for offset in range(min(size, count)):
        slots = range(offset, count, size)
        if offset == 0:
            rows = window_state.inputs[:count:size]
        else:
            rows = torch.stack([problem.observe(state) for state in current_states[: len(slots)]])
        inputs[offset::size] = rows
        round_outputs = evaluate(window_state.steps[offset:count:size], rows).unbind()
        for block, (slot, output) in enumerate(zip(slots, round_outputs, strict=True)):
            advance = problem.advance if offset else problem.advance_first
            state = advance(
                window_state.start + slot,
                current_states[block],
                output,
            )
            outputs[slot] = output
            states[slot] = current_states[block] = state
    return BlockWalk(first_slots, old_states, states, inputs, torch.stack(outputs))


def join_blocks(
    window_state: WindowState,
    walk: BlockWalk,
    end_states: Sequence[Tree],
) -> WindowUpdate:
    """Return the update whose blocks end in `end_states`; a block moved as far as the state that it begins with."""
    problem = window_state.problem
    states = list(walk.states)
    states[-1] = end_states[-1]
    inputs = torch.cat([walk.inputs, problem.observe(end_states[-1]).unsqueeze(0)])
    moves = torch.zeros_like(walk.inputs)
    old_states = walk.old_states[1:]
    new_states = end_states[:-1]
    joints = zip(walk.first_slots[1:], old_states, new_states, strict=True)
    for slot, old, new in joints:
        states[slot - 1] = new
        inputs[slot] = problem.observe(new)
        moves[slot] = inputs[slot] - walk.inputs[slot]
        if not _state_is_input(window_state):
            hidden = _measure_distance(new, old)
            moves[slot] = torch.where(hidden <= moves[slot].abs(), moves[slot], hidden)  # nan is taken over
    return WindowUpdate(
        sweep=SweepResult(states, inputs, walk.outputs, moves),
        evaluations=StepEvaluations(window_state.start, walk.inputs, walk.outputs),
    )


def refuse_empty_block(method_name: str, size: int) -> None:
    """Refuse blocks without steps."""
    if size < 1:
        raise ValueError(f"{method_name}({size}) has no step in a block; pass 1 or more")


def _state_is_input(window_state: WindowState) -> bool:
    return window_state.problem.process.observe(window_state.state) is window_state.state


def _usable_states(window_state: WindowState) -> Sequence[Tree]:
    """Return the states to walk from: those of the inputs to be evaluated, up to the first that is not available.

    A guess may have replaced the inputs. Where the state holds more, such as a counter, a guess of inputs alone repeats
    the state of another step, with which `advance` must not be called.
    """
    if _state_is_input(window_state):
        layout = window_state.problem.input_layout
        guesses = RowStates(layout, window_state.inputs[1:])
        return JoinedStates([window_state.state], guesses)
    states = window_state.states
    for slot in range(1, len(states)):
        if states[slot] is states[slot - 1]:
            return states[:slot]
    return states


def _measure_distance(left: Tree, right: Tree) -> Tensor:
    """Return the largest distance between two states, over what `observe` leaves out as well.

    Two steps may see the same input in states that differ; only floating numbers can be a little apart.
    """
    left_leaves = pytree.tree_leaves(left)
    right_leaves = pytree.tree_leaves(right)
    distances = []
    for left_leaf, right_leaf in zip(left_leaves, right_leaves, strict=True):
        if not isinstance(left_leaf, Tensor):
            distances.append(torch.tensor(0.0 if left_leaf == right_leaf else FAR_APART))
        elif left_leaf.numel():
            distances.append(_measure_leaf(left_leaf, right_leaf))
    device = next(leaf.device for leaf in left_leaves if isinstance(leaf, Tensor))
    return torch.stack([distance.to(device, torch.float64) for distance in distances]).max()


def _measure_leaf(left: Tensor, right: Tensor) -> Tensor:
    """Return the largest distance between the elements of two tensors."""
    if left.is_floating_point():
        return (left - right).abs().max()
    return torch.where((left == right).all(), 0.0, FAR_APART)
