"""Damped: slopes held back, where a path of full slopes would run away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, WindowState
from forerun.engine.methods.slopes import SlopeMethod


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

    def slopes(self, front: WindowState, evaluate: Evaluate) -> tuple[Tensor, Tensor | None, Any]:
        outputs, slopes, memory = self.method.slopes(front, evaluate)
        if slopes is None:
            return outputs, None, memory
        slopes = self.factor * slopes
        return outputs, slopes if self.bound is None else clip(front, slopes, self.bound), memory

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)


def clip(front: WindowState, slopes: Tensor, bound: float) -> Tensor:
    """The slopes whose propagators `A = a + b S` are clipped to `bound`, or to `|a|` where that is more."""
    a, b = gains(front, slopes)
    largest = a.abs().clamp_min(bound)
    if slopes.dim() == front.inputs.dim():
        kept = (a + b * slopes).clamp(-largest, largest) - a
    else:
        eye = torch.eye(slopes.shape[-1], dtype=slopes.dtype, device=slopes.device)
        A = a * eye + b * slopes
        size = (A.abs().sum(-1).amax(-1) * A.abs().sum(-2).amax(-1)).sqrt()[..., None, None]
        kept = torch.where(size > largest, A * (largest / size), A) - a * eye
    return torch.where(b == 0, 0.0, kept / b)


def gains(front: WindowState, like: Tensor) -> tuple[Tensor, Tensor]:
    """`a` and `b` of `A = a + b S`, one number a step, shaped to multiply `like`; 0 and 1 where they are not known."""
    maps = front.problem.affine_maps(front.start, len(like))
    if maps is None:
        none = like.new_zeros(len(like)).reshape(-1, *[1] * (like.dim() - 1))
        return none, torch.ones_like(none)
    shape = (-1, *[1] * (like.dim() - 1))
    return maps.state_factors.reshape(shape), maps.output_factors.reshape(shape)
