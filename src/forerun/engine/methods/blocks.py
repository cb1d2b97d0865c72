"""Blocks: the steps of a window in blocks, all blocks together and the steps of each in order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, Evaluated, Front, Iterate
from forerun.engine.tree import Tree


@dataclass(frozen=True)
class Fine:
    """Every block run from its old first state.

    Attributes:
        first: offsets of the first steps of the blocks.
        ends: the state after each block.
        states: after each step of the window.
        inputs: `(W, *batch, D)`, evaluated.
        outputs: `(W, *batch, E)`.
    """

    first: range
    ends: list[Tree]
    states: list[Tree]
    inputs: Tensor
    outputs: Tensor


def run_blocks(front: Front, evaluate: Evaluate, block: int) -> Fine:
    """`block` rounds, each one step of every block."""
    problem, width = front.problem, len(front.inputs)
    first = range(0, width, block)
    states = [front.states[place] for place in first]
    rows: dict[int, tuple[Tensor, Tensor, Tree]] = {}
    for offset in range(min(block, width)):
        places = [place + offset for place in first if place + offset < width]
        inputs = torch.stack([problem.observe(state) for state in states[: len(places)]])
        steps = torch.tensor(places, device=inputs.device) + front.start
        outputs = evaluate(steps, inputs)
        for index, place in enumerate(places):
            states[index] = problem.advance(front.start + place, states[index], outputs[index])
            rows[place] = (inputs[index], outputs[index], states[index])
    inputs, outputs = (torch.stack([rows[place][part] for place in range(width)]) for part in (0, 1))
    return Fine(first, states, [rows[place][2] for place in range(width)], inputs, outputs)


def joined(front: Front, fine: Fine, boundaries: list[Tree]) -> Iterate:
    """The path of the blocks with new states at their boundaries.

    Within a block every step follows the one before it exactly; only at a boundary may the path jump, from the old
    first state of the block to the new one, and that is the move.

    Args:
        front: the window.
        fine: its blocks, run.
        boundaries: the new state after each block.
    """
    problem = front.problem
    states = list(fine.states)
    for start, state in zip(fine.first, boundaries, strict=True):
        states[min(start + fine.first.step, len(states)) - 1] = state
    inputs = torch.stack([front.inputs[0], *map(problem.observe, states)])
    return Iterate(
        states=states,
        inputs=inputs,
        outputs=fine.outputs,
        moves=inputs[:-1] - fine.inputs,
        evaluated=Evaluated(front.start, fine.inputs, fine.outputs),
    )
