"""Gauss-Seidel: blocks in order and their steps together, or the reverse."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.blocks import (
    join_blocks,
    refuse_empty_block,
    walk_blocks,
)
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.methods.jacobi import Jacobi
from forerun.engine.rows import sweep_window


@dataclass(frozen=True)
class GaussSeidel(Method):
    """Blocks of the path one after another, the steps of a block together.

    The window ends where the block does, until all of the block is accepted. With `Jacobi` inside this is the
    hybrid GS-Jacobi of Song et al., arXiv 2002.03629.

    Args:
        block: steps in a block; blocks begin at its multiples.
        within: the method inside a block.
    """

    block: int
    within: Method = Jacobi()

    def __post_init__(self) -> None:
        refuse_empty_block("GaussSeidel", self.block)

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        return self.within.iterate(window_state, evaluate)

    def stop(self, start: int, stop: int) -> int:
        block_stop = (start // self.block + 1) * self.block
        return self.within.stop(start, min(stop, block_stop))


@dataclass(frozen=True)
class JacobiGaussSeidel(Method):
    """All blocks together, each from its old first state, the steps of a block one after another.

    The reverse of `GaussSeidel`. An iteration takes `block` rounds of `W / block` evaluations and accepts whole
    blocks, at least one; so it never takes more than `length` rounds. Parareal without a coarse step; Jacobi-GS of
    Song et al., arXiv 2002.03629.

    Args:
        block: steps in a block; blocks begin at the start of the window.
    """

    block: int

    def __post_init__(self) -> None:
        refuse_empty_block("JacobiGaussSeidel", self.block)

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        walk = walk_blocks(window_state, evaluate, self.block)
        return join_blocks(window_state, walk, walk.end_states)


@dataclass(frozen=True)
class PicardGaussSeidel(Method):
    """All blocks together as in `JacobiGaussSeidel`, their outputs swept in order from the exact first state.

    A block then begins the next iteration with what the sweep makes of all outputs before it, and not only of those of
    the block before. Where a step adds its value to all earlier ones, as sequences grow, this is the Jacobi-GS of
    Song et al., arXiv 2002.03629.

    Args:
        block: steps in a block; blocks begin at the start of the window.
    """

    block: int

    def __post_init__(self) -> None:
        refuse_empty_block("PicardGaussSeidel", self.block)

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        walk = walk_blocks(window_state, evaluate, self.block)
        path = sweep_window(
            window_state.problem,
            window_state.start,
            window_state.state,
            outputs=walk.outputs,
            evaluated_inputs=walk.inputs,
        )
        return WindowUpdate(
            sweep=path,
            evaluations=StepEvaluations(window_state.start, walk.inputs, walk.outputs),
        )
