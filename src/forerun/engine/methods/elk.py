"""Elk: a trust region around the guess, by a Kalman smoother."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.damped import affine_factors, clip_slopes
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.methods.quasi_newton import QuasiNewton
from forerun.engine.methods.slopes import SlopeMethod
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.rows import apply_slopes, sweep_window

MAX_PROPAGATOR = 1e6  # larger propagators weigh like this one, so that their squares are finite in float32


@dataclass(frozen=True)
class Elk(Method):
    """Levenberg and Marquardt's step on the whole path, with another method's slopes.

        minimise over x    sum_i |x_{i+1} - A_i x_i - q_i|^2  +  damping sum_i |x_i - u_i|^2

    where `x_{i+1} = A_i x_i + q_i` is the plain sweep. The minimum is the mean of a Kalman smoother that observes
    the guess with variance `R = 1 / damping` (Gonzalez et al., arXiv 2407.19115), here as
    three scans: variances, filter, smoother. A smoothed path is not a run of the process, so it serves only as the
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

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        outputs, slopes, memory = self.method.slopes(window_state, evaluate)
        clipped = None if slopes is None else clip_slopes(window_state, slopes, 1.0)
        path = sweep_window(
            window_state.problem,
            window_state.start,
            window_state.state,
            outputs=outputs,
            slopes=clipped,
            evaluated_inputs=window_state.inputs,
        )
        return WindowUpdate(
            sweep=path,
            evaluations=StepEvaluations(window_state.start, window_state.inputs, outputs),
            slopes=clipped,
            guesses=self._smooth_path(window_state, outputs, slopes),
            memory=memory,
        )

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)

    def _smooth_path(
        self,
        window_state: WindowState,
        outputs: Tensor,
        slopes: Tensor | None,
    ) -> Tensor:
        """Return the smoother's means `(W + 1, *batch, D)`, the first exact."""
        A, q = self._linearise_sweep(window_state, outputs, slopes)
        R = 1 / self.damping
        u = window_state.inputs
        first = u[0]
        P = _filter_variances(A, R)  # of x_start .. x_stop, each given the guesses up to its own
        forecast = A.square() * P[:-1] + 1  # of x_start+1 .. x_stop, each given the guesses before it
        gains = (forecast / (forecast + R))[:-1]
        K = torch.cat([gains, torch.zeros_like(forecast[:1])])  # nothing was guessed for x_stop
        observed = torch.cat([u[1:], u[:1]])
        means = affine_scan((1 - K) * A, (1 - K) * q + K * observed, first)
        m = torch.cat([first.unsqueeze(0), means])
        C = P[:-1] * A / forecast
        # the exact first state has P = 0, so C = 0 there: it stays
        smoothed = affine_scan(C, m[:-1] - C * (A * m[:-1] + q), m[-1], reverse=True)
        return torch.cat([smoothed, m[-1:]])

    def _linearise_sweep(
        self,
        window_state: WindowState,
        outputs: Tensor,
        slopes: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return `A` and `q` of the plain sweep."""
        maps = window_state.problem.affine_maps(window_state.start, len(outputs))
        if maps is None:
            raise ValueError(_refusal("no affine"))
        if slopes is None:
            slopes = torch.zeros_like(outputs[..., :1])
        if slopes.dim() > outputs.dim():
            raise ValueError(_refusal(f"dense slopes from {type(self.method).__name__}()"))
        a, b = affine_factors(window_state, slopes)
        q = b * (outputs - apply_slopes(slopes, window_state.inputs))
        if maps.shift is not None:
            q = q + maps.shift
        return (a + b * slopes).clamp(-MAX_PROPAGATOR, MAX_PROPAGATOR), q


def _filter_variances(A: Tensor, R: float) -> Tensor:
    """Return the filter's variances `P` of `x_start .. x_stop`, shaped like `A` with one entry more in front.

    `P <- R (A^2 P + 1) / (A^2 P + 1 + R)` from `P = 0` is a linear fraction, composed by products of the matrices
    `[[R A^2, R], [A^2, 1 + R]]`. All entries are positive, so nothing cancels; a common factor does not matter.
    """
    square = A.square()
    one = torch.ones_like(square)
    entries = [R * square, R * one, square, (1 + R) * one]
    M = torch.stack(entries, -1).unflatten(-1, (2, 2))
    reach = 1
    while True:
        M = M / M.amax((-2, -1), keepdim=True)
        if reach >= len(M):
            break
        M = torch.cat([M[:reach], M[reach:] @ M[:-reach]])
        reach *= 2
    return torch.cat([torch.zeros_like(one[:1]), M[..., 0, 1] / M[..., 1, 1]])


def _refusal(obstacle: str) -> str:
    return (
        f"Elk smooths paths x_(i+1) = A x_i + q with a scalar or diagonal A, but there is {obstacle}; "
        "use method=Damped(QuasiNewton(), bound=1.0), which does with any process and any slopes"
    )
