"""Parareal: blocks walked side by side, and a coarse step that carries their changes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods.base import Evaluate, Method, WindowState, WindowUpdate
from forerun.engine.methods.blocks import check_size, joined, walk
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
        check_size("Parareal", self.block)

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        problem, walked = front.problem, walk(front, evaluate, self.block)
        new = walked.ends[:1]
        for begin, before, fine in zip(walked.begins[1:-1], walked.before[1:-1], walked.ends[1:-1], strict=True):
            start, state = front.start + begin, new[-1]
            stop = start + self.block
            if self.coarse is None:
                output = evaluate(problem.step_range(start, start + 1), problem.observe(state).unsqueeze(0))[0]
                after = _held(problem, range(start, stop), state, output)
                after_before = _held(problem, range(start, stop), before, walked.outputs[begin])
            else:
                after, after_before = self.coarse(start, stop, state), self.coarse(start, stop, before)
            new.append(pytree.tree_map(_corrected, fine, after, after_before))
        # the last block's end is not corrected: nothing in the window begins there
        return joined(front, walked, [*new, *walked.ends[len(new) :]])


def _held(problem: Problem, steps: range, state: Tree, output: Tensor) -> Tree:
    """The state after some steps with one output held."""
    for step in steps:
        state = problem.advance(step, state, output)
    return state


def _corrected(fine: Tree, new: Tree, old: Tree) -> Tree:
    """`F + G - G'` of one leaf."""
    if not isinstance(fine, Tensor) or not fine.is_floating_point():
        return fine
    found = fine + (new - old)
    return torch.where(found.isfinite(), found, fine)
