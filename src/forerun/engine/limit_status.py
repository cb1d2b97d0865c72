"""LimitStatus: how the search for a limit ended, as a sentence with advice."""

from __future__ import annotations

from enum import Enum


class LimitStatus(Enum):
    """How the search for a fixed point ended: a sentence, with advice. The later ones are the worse."""

    CERTIFIED = "The limit is proven to lie within limit.error_bound of the state."
    CONVERGED = "The residual is what was asked for; limit.error_bound is an estimate from the moves of the iteration."
    RUNNING = "The iteration goes on."
    NO_FIXED_POINT = (
        "The map has no fixed point, as far as its residuals show: they settled at a displacement that is not zero, "
        "limit.displacement."
    )
    CYCLE = (
        "The iteration goes round a cycle, of limit.period evaluations; try method=Averaged(0.5), which converges for "
        "every nonexpansive map."
    )
    STALLED = (
        "The residual no longer falls; limit.state is the best one. Ask for a larger tolerance, pass the state in "
        "float64, or try method=Averaged(0.5)."
    )
    OUT_OF_BUDGET = (
        "All evaluations that were allowed are spent; limit.state is the best one. Pass max_evaluations=... to go "
        "further, or resume=limit.checkpoint."
    )
    STOPPED = "The callback asked to stop; pass resume=limit.checkpoint to go on."
    INTERRUPTED = "Interrupted. What is known is kept: pass resume=limit.checkpoint to go on."
    DIVERGED = (
        "The states run away; limit.state is the best one. The map does not contract there: try "
        "method=Averaged(0.1), method=NewtonKrylov(), or another first state."
    )
    NOT_FINITE = (
        "The map gave a value that is not finite; limit.state is the best state before it. Look there, or keep the "
        "states where the map is defined: Map.from_function(f, projection=...)."
    )

    @property
    def done(self) -> bool:
        """Whether the state is a limit, as far as was asked for."""
        return self in {LimitStatus.CERTIFIED, LimitStatus.CONVERGED}

    @property
    def code(self) -> int:
        """The number that stands for it in tensors over a batch."""
        return STATUS_ORDER.index(self)


STATUS_ORDER = tuple(LimitStatus)
