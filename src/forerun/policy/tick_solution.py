"""TickSolution: the solution of a tick, whose value is the chunk of actions."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor

from forerun.engine.solution import Solution


@dataclass(frozen=True)
class TickSolution(Solution):
    """The solution of a tick.

    Attributes:
        chunk: the actions, `(H, A)`; of several environments `(environments, H, A)`.
    """

    chunk: Tensor | None = None

    @classmethod
    def from_solution(cls, solution: Solution, chunk: Tensor) -> TickSolution:
        """Return the solution of a tick's process, with the chunk that was made of it."""
        values = {field.name: getattr(solution, field.name) for field in fields(Solution)}
        return cls(**values, chunk=chunk)

    @property
    def value(self) -> Tensor | None:
        """The chunk of actions."""
        return self.chunk
