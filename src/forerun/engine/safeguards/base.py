"""Safeguard: whether an accelerated point is kept, or taken back in favour of the plain value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from forerun.engine.map_rows import MapRows


@dataclass(frozen=True)
class JudgedPoints:
    """Points that were just evaluated, of the problems that go on.

    Attributes:
        rows: the map.
        problems: int64 `(A,)`.
        points: `(A, D)`.
        sizes: of their residuals, `(A,)`.
    """

    rows: MapRows
    problems: Tensor
    points: Tensor
    sizes: Tensor


class Safeguard(ABC):
    """What an accelerated point must keep; where it does not, the plain value of the point before is evaluated."""

    @abstractmethod
    def measure(self, judged: JudgedPoints) -> Tensor:
        """Return the number `(A,)` by which points are compared; less is better."""

    @abstractmethod
    def accepts(self, measured: Tensor, last: Tensor, best: Tensor) -> Tensor:
        """Return which accelerated points are kept, bool `(A,)`.

        Args:
            measured: their numbers, `(A,)`.
            last: those of the points before.
            best: the best so far.
        """
