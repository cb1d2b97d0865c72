"""Parareal: a coarse step over a block instead of a slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods.base import Evaluate, Front, Iterate, Method
from forerun.engine.methods.blocks import joined, run_blocks
from forerun.engine.tree import Tree

Coarse = Callable[[int, int, Tree], Tree]  # (first step, stop, state of the first step) -> state of the step `stop`


@dataclass(frozen=True)
class Parareal(Method):
    """Blocks run in parallel from their old first states, and corrected in order by a coarse step.

        y_{j+1} = F(y_j') + G(y_j) - G(y_j')

    with `y` the states between blocks, `'` those of the iteration before, `F` the steps of a block one by one, and
    `G` a coarse stand-in for them (Lions, Maday, Turinici 2001; SRDS, Selvam et al., arXiv 2412.08292, for samplers).
    An iteration costs `block` rounds for `F`, with the steps of all blocks side by side, and accepts a block at least.

    Args:
        block: steps of a block; near the square root of the window for the fewest rounds.
        coarse: `G`. None for one evaluation at the block's first step, held over all its advances: of a sampler whose
            output is the denoised sample that is one large step. It costs another round for every block but the
            first, so that `length` rounds are then no longer the worst case, but `2 length`.
    """

    block: int
    coarse: Coarse | None = None

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"Parareal(block={self.block}) holds no step; pass 1 or more")

    def iterate(self, front: Front, evaluate: Evaluate) -> Iterate:
        fine = run_blocks(front, evaluate, self.block)
        boundaries = [fine.ends[0]]  # the first block began at an exact state
        for start, old_end in zip(fine.first[1:], fine.ends[1:], strict=True):
            stop = min(start + self.block, len(front.inputs))
            if stop == len(front.inputs):
                boundaries.append(old_end)  # nothing in the window begins there
                break
            old, new = front.states[start], boundaries[-1]
            if self.coarse is None:
                held = evaluate(front.steps[start : start + 1], front.problem.observe(new).unsqueeze(0))[0]
                before, after = (
                    _hold(front, range(start, stop), *each) for each in ((old, fine.outputs[start]), (new, held))
                )
            else:
                before, after = (self.coarse(front.start + start, front.start + stop, each) for each in (old, new))
            boundaries.append(pytree.tree_map(_corrected, old_end, after, before))
        return joined(front, fine, boundaries)


def _hold(front: Front, places: range, state: Tree, output: Tensor) -> Tree:
    """The state after the steps at some offsets, with one output for all of them."""
    for place in places:
        state = front.problem.advance(front.start + place, state, output)
    return state


def _corrected(fine: Any, after: Any, before: Any) -> Any:
    """`F + G - G'` of real tensors; counters and plain values are the fine run's."""
    return fine + (after - before) if isinstance(fine, Tensor) and fine.is_floating_point() else fine
