"""QuasiNewton: the diagonal of every step's Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, WindowState
from forerun.engine.methods.slopes import SlopeMethod
from forerun.engine.methods.tangents import along
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem


@dataclass(frozen=True)
class QuasiNewton(SlopeMethod):
    """A diagonal slope, estimated from random directions.

        S_i = diag(J_i) = mean over probes of  z * (J_i z),    z = +-1 at random

    Quasi-DEER (Gonzalez et al., arXiv 2407.19115) with Hutchinson's estimate of the diagonal (Bekas,
    Kokiopoulou, Saad 2007): exact for a diagonal Jacobian; off the diagonal it errs by the norm of the
    row over `sqrt(probes)`. The signs belong to step, element, probe and seed: a repeated round repeats them, and
    all ranks draw the same. A step whose estimate is not finite goes without, and so do all where outputs are not as
    wide as inputs.

    Args:
        diagonal: takes steps `(W,)` and an input tree with a leading axis of `W`, and returns a tree like the
            inputs; a round then costs 2 evaluations. None for the estimate.
        probes: directions; a round costs `1 + probes` evaluations.
        seed: of the directions.
        difference: finite differences instead of `torch.func.jvp`, of this size relative to the input; 1e-3 is
            right in float32. For what cannot be differentiated in forward mode.

    Raises:
        ValueError: `probes` is less than 1, or `diagonal` returned another tree.
        RuntimeError: evaluate cannot be differentiated in forward mode.
    """

    diagonal: Callable[[Tensor, Tree], Tree] | None = None
    probes: int = 1
    seed: int = 0
    difference: float | None = None

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise ValueError(f"QuasiNewton(probes={self.probes}) looks nowhere; pass 1 or more, or use Picard()")

    def slopes(self, front: WindowState, evaluate: Evaluate) -> tuple[Tensor, Tensor | None, None]:
        width = front.inputs.shape[-1]

        def call(steps: Tensor, inputs: Tensor) -> Tensor:
            outputs, S = (self._estimated if self.diagonal is None else self._given)(front.problem, steps, inputs)
            return torch.cat([outputs, S], -1)

        rows = evaluate(front.steps, front.inputs, call, 1 + self.probes if self.diagonal is None else 2)
        outputs, S = rows[..., :-width], rows[..., -width:]
        if outputs.shape[-1] != width:
            return outputs, None, None
        return outputs, torch.where(S.isfinite().all(-1, keepdim=True), S, 0.0), None

    def _estimated(self, problem: Problem, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.stack([self._signs(steps, inputs, probe) for probe in range(self.probes)])
        outputs, Jz = along(problem, steps, inputs, directions=z, difference=self.difference)
        return outputs, (z * Jz).mean(0) if Jz.shape == z.shape else torch.zeros_like(inputs)

    def _given(self, problem: Problem, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        assert self.diagonal is not None
        found = self.diagonal(steps, problem.input_layout.unpack(inputs))
        return problem.evaluate(steps, inputs), problem.input_layout.pack(found, len(steps))

    def _signs(self, steps: Tensor, like: Tensor, probe: int) -> Tensor:
        """`(W, *batch, D)`, +1 or -1: the top bit of a hash of seed, probe, step and element (SplitMix64)."""
        elements = torch.arange(prod(like.shape[1:]), device=like.device)
        key = _mixed(_mixed(steps + self.seed * 1_000_003) + probe)
        return torch.where(_mixed(key.unsqueeze(-1) ^ elements) < 0, -1.0, 1.0).to(like).reshape(like.shape)


def _mixed(bits: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele, Lea, Flood 2014); int64 wraps around on every device."""
    bits = bits + _signed(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> 30 & (1 << 34) - 1)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> 27 & (1 << 37) - 1)) * _signed(0x94D049BB133111EB)
    return bits ^ (bits >> 31 & (1 << 33) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
