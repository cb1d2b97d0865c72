"""The check: how far the accepted path may have drifted from the sequential run.

A small residual proves little: an unstable path has tiny residuals and a wrong end. So a *shadow* is followed beside
the accepted path, where the sequential run is estimated to be. The output of an accepted step was evaluated at
an input that then moved by `m`, and corrected by the slope for it. How wrong such a correction is was measured when
the step was evaluated last: the result was `o` where `p` was predicted, after a move `u - u'`. So the shadow is

    y_{i+1} = advance(i, y_i, o_i + S m_i + r_i + J (observe(y_i) - observe(x_i))),    r_i = (o - p) |m_i| / |u - u'|

that is `d_{i+1} = A_i d_i + r_i` for the distance `d = y - x`, through the process's own `advance`; `J` comes from
the evaluations that were made anyway (`engine/check/jacobian_estimate.py`), so that no evaluation is spent. It is an
estimate: `benchmarks/the_check_tells_the_deviation.py` says how good.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """What `solve` does about the deviation from the sequential run.

    Args:
        share: of the tolerance that the residual of a single step may take, so that all together keep it.
        retries: times to go back with a tighter threshold, before going on step by step. With 0 the deviation is only
            estimated, and reported as it is.
        thorough: evaluate every accepted step again, where it was accepted and where the sequential run is estimated to
            be: at most two evaluations a step more, and two calls.
    """

    share: float = 0.25
    retries: int = 5
    thorough: bool = False
