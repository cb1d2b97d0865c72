"""GaussSeidel and JacobiGaussSeidel: the hybrids of feedforward solving."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.methods.base import Evaluate, Front, Iterate, Method
from forerun.engine.methods.blocks import joined, run_blocks
from forerun.engine.methods.jacobi import Jacobi


@dataclass(frozen=True)
class GaussSeidel(Method):
    """Blocks in order, the steps of a block together: the window ends where the current block does.

    With `Jacobi` inside this is Gauss-Seidel-Jacobi (Song et al., arXiv 2002.03629, Algorithm 3).

    Args:
        block: steps of a block; blocks begin at its multiples.
        within: what is done in a block.
    """

    block: int
    within: Method = Jacobi()

    def __post_init__(self) -> None:
        _refuse_empty(self.block, "GaussSeidel")

    def iterate(self, front: Front, evaluate: Evaluate) -> Iterate:
        return self.within.iterate(front, evaluate)

    def stop(self, start: int, stop: int) -> int:
        return self.within.stop(start, min(stop, (start // self.block + 1) * self.block))


@dataclass(frozen=True)
class JacobiGaussSeidel(Method):
    """Blocks together, each from its old first state, and the steps of a block in order.

    An iteration costs `block` rounds and accepts a block at least (Song et al., arXiv 2002.03629, Algorithm 2).

    Args:
        block: steps of a block.
    """

    block: int

    def __post_init__(self) -> None:
        _refuse_empty(self.block, "JacobiGaussSeidel")

    def iterate(self, front: Front, evaluate: Evaluate) -> Iterate:
        fine = run_blocks(front, evaluate, self.block)
        return joined(front, fine, fine.ends)


def _refuse_empty(block: int, name: str) -> None:
    if block < 1:
        raise ValueError(f"{name}(block={block}) holds no step; pass 1 or more")
