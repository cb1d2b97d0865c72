"""LoopSolution: the solution of a loop, whose value is the trained parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from forerun.engine.numerics.tree import Tree
from forerun.engine.solution import Solution


@dataclass(frozen=True)
class LoopSolution(Solution):
    """What the run of a loop returns; its `state` holds what optimisers and schedulers keep besides.

    Attributes:
        build_tree: makes the user's tree of a list of tensors.
    """

    build_tree: Callable[[list[Any]], Tree] = field(kw_only=True)

    @classmethod
    def from_solution(cls, solution: Solution, build_tree: Callable[[list[Any]], Tree]) -> LoopSolution:
        """Return the same solution, with a value that is shaped like the user's parameters."""
        values = {entry.name: getattr(solution, entry.name) for entry in fields(Solution)}
        return cls(**values, build_tree=build_tree)

    @property
    def value(self) -> Tree:
        """The parameters after the last accepted step, shaped like `params`; a module is a dict of its tensors."""
        return self.build_tree([tensor.clone() for tensor in self.checkpoint.state["params"]])
