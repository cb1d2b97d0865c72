"""odeint: an ordinary differential equation on a fixed grid, all steps at once, with its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Unpack, final

import torch
from torch import Tensor

from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.sequence.recurrent.scan import DEFAULT_JACOBIAN_BYTES, ScanSolution, scan


@final
@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta scheme: `k_j = f(t + c_j dt, y + dt sum_l a_jl k_l)`, `y' = y + dt sum_j b_j k_j`.

    Attributes:
        a: one row a stage, each as long as the stages before it.
        b: weights of the stages.
        c: places of the stages in the step.
    """

    a: Sequence[Sequence[float]]
    b: Sequence[float]
    c: Sequence[float]

    def step(
        self,
        f: Callable[[Tensor, Tensor], Tensor],
        t: Tensor,
        dt: Tensor,
        y: Tensor,
    ) -> Tensor:
        """Return the state `dt` after `t`; all of them tensors that broadcast with `y`."""
        k: list[Tensor] = []
        for a_j, c_j in zip(self.a, self.c, strict=True):
            slope = _weighted_sum(a_j, k, y)
            k.append(f(t + c_j * dt, y + dt * slope))
        slope = _weighted_sum(self.b, k, y)
        return y + dt * slope


EULER = ButcherTableau(
    a=((),),
    b=(1.0,),
    c=(0.0,),
)
RK4 = ButcherTableau(
    a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 0.5, 0.5, 1.0),
)
DOPRI5 = ButcherTableau(  # the fifth-order solution of Dormand and Prince 1980
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
)


def odeint(
    f: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    t: Tensor,
    *,
    scheme: ButcherTableau = RK4,
    max_bytes: int = DEFAULT_JACOBIAN_BYTES,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> ScanSolution:
    """Return the solution of `dy/dt = f(t, y)` at the times of a grid, one step of a scheme between two of them.

    Args:
        f: for many steps at once: `t` `(N, 1, ...)`, which broadcasts with `y` `(N, *shape)`; returns `(N, *shape)`.
        y0: at `t[0]`, `(B, *shape)`.
        t: the grid, `(T + 1,)`, rising or falling.
        scheme: `RK4`, `DOPRI5` (its fifth-order solution, the step being that of the grid) or `EULER`.
        max_bytes: what Jacobians may take, forth and back.
        options: how to solve, as one object; see `forerun.sequence.scan`.
        keywords: the options one by one.

    Returns:
        A `ScanSolution` whose `hidden` holds the solution at `t[1:]`, `(T, B, *shape)`: differentiable in `y0`, `t` and
        in what `f` closes over, by one reverse scan.

    Raises:
        ValueError: the grid has no step, or does not rise or fall throughout.
    """
    options = SolveOptions.gather(options, keywords)
    _check_grid(t)
    grid = torch.stack([t[:-1], t.diff()], -1).to(y0)
    grid = grid.unsqueeze(1).expand(-1, len(y0), -1)

    def cell(y: Tensor, time_and_step: Tensor) -> Tensor:
        axes = [1] * (y.dim() - 1)
        time, dt = time_and_step.unbind(-1)
        return scheme.step(f, time.reshape(-1, *axes), dt.reshape(-1, *axes), y)

    return scan(cell, y0, grid, max_bytes=max_bytes, options=options)


def _check_grid(t: Tensor) -> None:
    steps = t.diff()
    is_grid = t.dim() == 1 and len(steps) > 0
    if not is_grid or not bool((steps > 0).all() | (steps < 0).all()):
        raise ValueError(
            f"t has shape {list(t.shape)}, and must be a grid of two or more times that rises or falls throughout; "
            "pass torch.linspace(0, 1, 101)"
        )


def _weighted_sum(
    weights: Sequence[float],
    stages: Sequence[Tensor],
    like: Tensor,
) -> Tensor:
    total = torch.zeros_like(like)
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = total + weight * stage
    return total
