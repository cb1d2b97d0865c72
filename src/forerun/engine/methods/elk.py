"""Elk: a trust region around the guess, by a Kalman smoother."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, Method, StepEvaluations, WindowState, WindowUpdate
from forerun.engine.methods.damped import clip, gains
from forerun.engine.methods.quasi_newton import QuasiNewton
from forerun.engine.methods.slopes import SlopeMethod
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.rows import apply_slopes, sweep_window

STEEP = 1e6  # larger propagators weigh like this one, so that their squares are finite in float32


@dataclass(frozen=True)
class Elk(Method):
    """Levenberg and Marquardt's step on the whole path, with another method's slopes.

        minimise over x    sum_i |x_{i+1} - A_i x_i - q_i|^2  +  damping sum_i |x_i - u_i|^2

    where `x_{i+1} = A_i x_i + q_i` is the plain sweep. The minimum is the mean of a Kalman smoother that observes
    the guess with variance `R = 1 / damping` (Gonzalez et al., arXiv 2407.19115), here as
    three scans: variances, filter, smoother. A smoothed path is no run of the process, so it serves only as the
    guess to evaluate next; what is accepted is a sweep with the slopes bounded as in `Damped(method, bound=1)`.

    For processes with `affine`, and slopes that are scalars or diagonals.

    Args:
        method: where the slopes come from; `QuasiNewton()` makes it quasi-ELK.
        damping: towards 0 it is the plain method; the larger, the smaller its steps.

    Raises:
        ValueError: damping is not positive, the process gives no `affine`, or the slopes are dense.
    """

    method: SlopeMethod = QuasiNewton()
    damping: float = 1e-4

    def __post_init__(self) -> None:
        if not self.damping > 0:
            raise ValueError(f"Elk(damping={self.damping}) has no trust region; pass a positive number")

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        outputs, slopes, memory = self.method.slopes(front, evaluate)
        tame = None if slopes is None else clip(front, slopes, 1.0)
        path = sweep_window(
            front.problem, front.start, front.state, outputs=outputs, slopes=tame, evaluated_inputs=front.inputs
        )
        return WindowUpdate(
            sweep=path,
            evaluations=StepEvaluations(front.start, front.inputs, outputs),
            slopes=tame,
            guesses=self._smoothed(front, outputs, slopes),
            memory=memory,
        )

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)

    def _smoothed(self, front: WindowState, outputs: Tensor, slopes: Tensor | None) -> Tensor:
        """The smoother's means `(W + 1, *batch, D)`, the first exact."""
        A, q = self._dynamics(front, outputs, slopes)
        R, u, first = 1 / self.damping, front.inputs, front.inputs[0]
        P = _variances(A, R)  # of x_start .. x_stop, each given the guesses up to its own
        ahead = A.square() * P[:-1] + 1  # of x_start+1 .. x_stop, each given the guesses before it
        K = torch.cat([(ahead / (ahead + R))[:-1], torch.zeros_like(ahead[:1])])  # nothing was guessed for x_stop
        seen = torch.cat([u[1:], u[:1]])
        m = torch.cat([first.unsqueeze(0), affine_scan((1 - K) * A, (1 - K) * q + K * seen, first)])
        C = P[:-1] * A / ahead
        # the exact first state has P = 0, so C = 0 there: it stays
        smoothed = affine_scan(C, m[:-1] - C * (A * m[:-1] + q), m[-1], reverse=True)
        return torch.cat([smoothed, m[-1:]])

    def _dynamics(self, front: WindowState, outputs: Tensor, slopes: Tensor | None) -> tuple[Tensor, Tensor]:
        """`A` and `q` of the plain sweep."""
        maps = front.problem.affine_maps(front.start, len(outputs))
        if maps is None or (slopes is not None and slopes.dim() > outputs.dim()):
            what = "no affine" if maps is None else f"dense slopes from {type(self.method).__name__}()"
            raise ValueError(
                f"Elk smooths paths x_(i+1) = A x_i + q with a scalar or diagonal A, but there is {what}; "
                "use method=Damped(QuasiNewton(), bound=1.0), which does with any process and any slopes"
            )
        slopes = torch.zeros_like(outputs[..., :1]) if slopes is None else slopes
        a, b = gains(front, slopes)
        q = b * (outputs - apply_slopes(slopes, front.inputs))
        if maps.shift is not None:
            q = q + maps.shift
        return (a + b * slopes).clamp(-STEEP, STEEP), q


def _variances(A: Tensor, R: float) -> Tensor:
    """The filter's variances `P` of `x_start .. x_stop`, shaped like `A` with one entry more in front.

    `P <- R (A^2 P + 1) / (A^2 P + 1 + R)` from `P = 0` is a linear fraction, composed by products of the matrices
    `[[R A^2, R], [A^2, 1 + R]]`. All entries are positive, so nothing cancels; a common factor does not matter.
    """
    square = A.square()
    one = torch.ones_like(square)
    M = torch.stack([R * square, R * one, square, (1 + R) * one], -1).unflatten(-1, (2, 2))
    reach = 1
    while True:
        M = M / M.amax((-2, -1), keepdim=True)
        if reach >= len(M):
            break
        M = torch.cat([M[:reach], M[reach:] @ M[:-reach]])
        reach *= 2
    return torch.cat([torch.zeros_like(one[:1]), M[..., 0, 1] / M[..., 1, 1]])
