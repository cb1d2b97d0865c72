"""Parareal: blocks walked side by side, and a coarse step that carries their changes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.blocks import (
    BlockWalk,
    join_blocks,
    refuse_empty_block,
    walk_blocks,
)
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem


@dataclass(frozen=True)
class Parareal(Method):
    """Fine steps inside blocks, a coarse step over each block to correct where the next begins.

        y_{j+1} = F(y_j') + G(y_j) - G(y_j')

    with `y_j` the state in which block `j` begins, `'` for the iteration before, `F` the block's own steps and `G`
    the coarse step. Lions, Maday, Turinici 2001; for diffusion SRDS (Selvam et al., arXiv 2412.08292), whose coarse
    start is replaced by the window's guess, and whose `G`, one large step of the sampler, is what the default does
    to a process that outputs the denoised sample.

    An iteration takes `block` rounds for `F`, all blocks together, and with the default `G` one more for every block
    but the first and the last, in order: `block + B - 2` with `B` blocks in the window, so `block = sqrt(window)` is
    a good choice. It accepts whole blocks, at least one: at worst more rounds than the sequential run's `length`.

    States are combined leaf by leaf: right for floating tensors that may be added; the others are those of `F`.

    Args:
        block: steps in a block; blocks begin at the start of the window.
        coarse: takes start, stop and the state of step start, and returns a guess of the state of step stop; called
            twice for a block, and what it evaluates is not counted. None for the default: one evaluation at the
            block's first step, held over the block.
    """

    block: int
    coarse: Callable[[int, int, Tree], Tree] | None = None

    def __post_init__(self) -> None:
        refuse_empty_block("Parareal", self.block)

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        walk = walk_blocks(window_state, evaluate, self.block)
        fine_states = walk.end_states
        end_states = fine_states[:1]
        # the first block began in the exact state; the last one's end is not corrected, as nothing begins there
        for block in range(1, len(fine_states) - 1):
            new, old = self._step_coarsely(window_state, evaluate, walk, block=block, state=end_states[-1])
            end_states.append(pytree.tree_map(_correct_leaf, fine_states[block], new, old))
        return join_blocks(window_state, walk, [*end_states, *fine_states[len(end_states) :]])

    def _step_coarsely(
        self,
        window_state: WindowState,
        evaluate: Evaluate,
        walk: BlockWalk,
        *,
        block: int,
        state: Tree,
    ) -> tuple[Tree, Tree]:
        """Return the coarse step over a block, from its new first state and from its old one: `G(y_j)`, `G(y_j')`."""
        problem = window_state.problem
        slot = walk.first_slots[block]
        old_state = walk.old_states[block]
        start = window_state.start + slot
        stop = start + self.block
        if self.coarse is not None:
            return self.coarse(start, stop, state), self.coarse(start, stop, old_state)
        inputs = problem.observe(state).unsqueeze(0)
        output = evaluate(problem.step_range(start, start + 1), inputs)[0]
        steps = range(start, stop)
        new = _advance_held(problem, steps, state, output)
        old = _advance_held(problem, steps, old_state, walk.outputs[slot])
        return new, old


def _advance_held(
    problem: Problem,
    steps: range,
    state: Tree,
    output: Tensor,
) -> Tree:
    """Return the state after some steps with one output held."""
    for step in steps:
        state = problem.advance(step, state, output)
    return state


def _correct_leaf(fine: Tree, new: Tree, old: Tree) -> Tree:
    """Return `F + G - G'` for one leaf; `F` where that is not finite, or nothing to be added."""
    if not isinstance(fine, Tensor) or not fine.is_floating_point():
        return fine
    corrected = fine + (new - old)
    return torch.where(corrected.isfinite(), corrected, fine)
