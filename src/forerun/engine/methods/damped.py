"""Damped: slopes held back, where a path of full slopes would run away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowState
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.methods.slopes import SlopedOutputs, SlopeMethod


@dataclass(frozen=True)
class Damped(SlopeMethod):
    """Another method's slopes, scaled and clipped.

        S_i <- factor S_i,    then    |A_i| <= bound    with    A_i = a_i + b_i S_i

    `A` is the step's propagator, with `a` and `b` from the process's `affine`; where it gives none, the slope itself
    is bounded. Guesses far from the path have wild Jacobians, whose product over a window overflows. With
    `bound=1` no step stretches an error; a step that does so with slope zero (`|a| > bound`) keeps that.
    Dense propagators are scaled as a whole, by the bound `sqrt(|A|_1 |A|_inf)` of their norm.

    With the next state as output `factor` is scale-ELK (`1 - k`) and `bound=1` is clip-ELK, from the code beside
    arXiv 2407.19115; the trust region of the paper itself is `Elk`.

    Args:
        method: where the slopes come from.
        factor: 1 keeps the slopes, 0 is Picard.
        bound: None for no bound.
    """

    method: SlopeMethod
    factor: float = 1.0
    bound: float | None = None

    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> SlopedOutputs:
        outputs, slopes, memory = self.method.slopes(window_state, evaluate)
        if slopes is None:
            return SlopedOutputs(outputs, memory=memory)
        slopes = self.factor * slopes
        if self.bound is not None:
            slopes = clip_slopes(window_state, slopes, self.bound)
        return SlopedOutputs(outputs, slopes, memory)

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)


def clip_slopes(window_state: WindowState, slopes: Tensor, bound: float) -> Tensor:
    """Return the slopes whose propagators `A = a + b S` are clipped to `bound`, or to `|a|` where that is more."""
    a, b = affine_factors(window_state, slopes)
    bounds = a.abs().clamp_min(bound)
    if slopes.dim() == window_state.inputs.dim():
        A = (a + b * slopes).clamp(-bounds, bounds)
        return torch.where(b == 0, 0.0, (A - a) / b)
    eye = torch.eye(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device)
    A = a * eye + b * slopes
    norms = _bound_norms(A)
    A = torch.where(norms > bounds, A * (bounds / norms), A)
    return torch.where(b == 0, 0.0, (A - a * eye) / b)


def affine_factors(window_state: WindowState, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return `a` and `b` of `A = a + b S`, one number a step, shaped to multiply `like`; 0 and 1 where not known."""
    shape = (-1, *[1] * (like.dim() - 1))
    maps = window_state.problem.affine_maps(window_state.start, len(like))
    if maps is None:
        zeros = like.new_zeros(len(like)).reshape(shape)
        return zeros, torch.ones_like(zeros)
    a = maps.state_factors.reshape(shape)
    b = maps.output_factors.reshape(shape)
    return a, b


def _bound_norms(matrices: Tensor) -> Tensor:
    """Return `sqrt(|A|_1 |A|_inf)`, at least the norm, of matrices `(..., E, D)`, as `(..., 1, 1)`."""
    sizes = matrices.abs()
    row_bound = sizes.sum(-1).amax(-1)
    column_bound = sizes.sum(-2).amax(-1)
    return (row_bound * column_bound).sqrt()[..., None, None]
