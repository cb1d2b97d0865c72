"""Limit: where an iteration ends, what it cost, what is known of the error, and a sentence that says what holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from forerun.engine.limit_status import LimitStatus
from forerun.engine.numerics.tree import Tree

if TYPE_CHECKING:
    from forerun.engine.search.checkpoint import LimitCheckpoint


class NoLimit(RuntimeError):
    """Raised by `fixed_point(..., throw=True)` where no limit was reached; `.limit` holds what there is."""

    def __init__(self, limit: Limit) -> None:
        lines = [limit.status.value, *limit.notes]
        super().__init__(f"{' '.join(lines)} ({limit.describe_cost()}, residual {limit.largest_residual:.3g})")
        self.limit = limit

    def __reduce__(self) -> tuple[type[NoLimit], tuple[Limit]]:
        """Let the error go to another process with its limit."""
        return type(self), (self.limit,)


@dataclass(frozen=True)
class Limit:
    """What `fixed_point` returns.

    Tensors have one entry for each problem, `(*batch,)`; without batch axes they are single numbers.

    Attributes:
        state: the limit: the last value `T(x)` where it was reached, the state of the smallest residual where not.
        status: how the search ended; over a batch, the worst.
        statuses: how it ended for each problem, in order.
        evaluations: calls of the map, one after another; derivatives along a direction count as one each.
        iterations: points that were evaluated, `(*batch,)`.
        residual: size of `T(x) - x` at the point before the state, in the norm of the tolerance.
        rate: by which the residual fell from one evaluation to the next, over the last ten: measured.
        error_bound: of the distance from the state to the limit, in the norm of the tolerance: proven where the status
            is `CERTIFIED`, an estimate where it is `CONVERGED`; nan where nothing is known.
        displacement: `T(x) - x` itself, a tree like the state.
        period: of the cycle, 0 where there is none.
        residuals: the largest of every evaluation, in order.
        seconds: of the whole run.
        seconds_evaluating: of these, in the map.
        rejected: accelerated points that the safeguard took back.
        notes: what was found on the way; sentences.
        checkpoint: hand it to `resume` to go on, or `.save(path)` it.
    """

    state: Tree
    status: LimitStatus
    statuses: Sequence[LimitStatus]
    evaluations: int
    iterations: Tensor
    residual: Tensor
    rate: Tensor
    error_bound: Tensor
    displacement: Tree
    period: Tensor
    residuals: Sequence[float]
    seconds: float = 0.0
    seconds_evaluating: float = 0.0
    rejected: int = 0
    notes: Sequence[str] = ()
    checkpoint: LimitCheckpoint | None = None

    @property
    def value(self) -> Any:
        """What the caller asked for: the state; fields answer in their own terms."""
        return self.state

    @property
    def advice(self) -> str:
        """The sentence of the status, and what to do about it."""
        return self.status.value

    @property
    def largest_residual(self) -> float:
        """The largest residual over the batch; 0 where there are no problems."""
        return largest_entry(self.residual)

    @property
    def largest_error_bound(self) -> float:
        """The largest error bound over the batch."""
        return largest_entry(self.error_bound)

    def describe_cost(self) -> str:
        """Return the evaluations in words."""
        taken_back = f", {self.rejected} points taken back" if self.rejected else ""
        return f"{self.evaluations} evaluations{taken_back}"

    def __str__(self) -> str:
        """Describe the limit in a few lines; tensors are left out."""
        kind = "proven" if self.status is LimitStatus.CERTIFIED else "estimate"
        lines = [
            f"{self.describe_cost()}, residual {self.largest_residual:.3g}, rate {largest_entry(self.rate):.3g}",
            f"error bound {self.largest_error_bound:.3g} ({kind})",
            f"{self.seconds:.3g} s, of these {self.seconds_evaluating:.3g} in the map",
            self.status.value,
            *self.notes,
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Limit\n{self}\n>"


def largest_entry(values: Tensor) -> float:
    """Return the largest entry of a tensor over a batch; 0 where there are none."""
    return float(values.max()) if values.numel() else 0.0
