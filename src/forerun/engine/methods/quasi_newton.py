"""QuasiNewton: the diagonal of every step's Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from forerun.engine.methods.base import WindowState
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.methods.slopes import SlopedOutputs, SlopeMethod
from forerun.engine.methods.tangents import evaluate_tangents
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

    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> SlopedOutputs:
        problem = window_state.problem
        width = window_state.inputs.shape[-1]
        differentiate, cost = self._estimate_diagonal, 1 + self.probes
        if self.diagonal is not None:
            differentiate, cost = self._call_diagonal, 2

        def evaluate_rows(steps: Tensor, inputs: Tensor) -> Tensor:
            return torch.cat(differentiate(problem, steps, inputs), -1)

        rows = evaluate(
            window_state.steps,
            window_state.inputs,
            evaluate_rows,
            cost,
        )
        outputs = rows[..., :-width]
        if outputs.shape[-1] != width:
            return SlopedOutputs(outputs)
        S = rows[..., -width:]
        is_finite = S.isfinite().all(-1, keepdim=True)
        return SlopedOutputs(outputs, torch.where(is_finite, S, 0.0))

    def _estimate_diagonal(self, problem: Problem, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and Hutchinson's estimate of the diagonal; zero where outputs are not like inputs."""
        z = torch.stack([self._draw_signs(steps, inputs, probe) for probe in range(self.probes)])
        outputs, Jz = evaluate_tangents(
            problem,
            steps,
            inputs,
            directions=z,
            difference=self.difference,
        )
        if Jz.shape != z.shape:
            return outputs, torch.zeros_like(inputs)
        return outputs, (z * Jz).mean(0)

    def _call_diagonal(self, problem: Problem, steps: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and the diagonal that the user's function gives."""
        assert self.diagonal is not None
        diagonal = self.diagonal(steps, problem.input_layout.unpack(inputs))
        return problem.evaluate(steps, inputs), problem.input_layout.pack(diagonal, len(steps))

    def _draw_signs(self, steps: Tensor, like: Tensor, probe: int) -> Tensor:
        """Return +1 or -1 `(W, *batch, D)`: the top bit of a hash of seed, probe, step and element (SplitMix64)."""
        elements = torch.arange(prod(like.shape[1:]), device=like.device)
        seeded_steps = _mix_bits(steps + self.seed * 1_000_003)
        keys = _mix_bits(seeded_steps + probe).unsqueeze(-1)
        signs = torch.where(_mix_bits(keys ^ elements) < 0, -1.0, 1.0)
        return signs.to(like).reshape(like.shape)


def _mix_bits(bits: Tensor) -> Tensor:
    """Return the output function of SplitMix64 (Steele, Lea, Flood 2014); int64 wraps around on every device."""
    bits = bits + _to_signed(0x9E3779B97F4A7C15)
    bits = (bits ^ _shift_right(bits, 30)) * _to_signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shift_right(bits, 27)) * _to_signed(0x94D049BB133111EB)
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, count: int) -> Tensor:
    """Return the bits shifted as if unsigned: zeros enter, not copies of the sign."""
    return bits >> count & (1 << 64 - count) - 1


def _to_signed(word: int) -> int:
    """Return the int64 with the bits of an unsigned word."""
    return word - (1 << 64) if word >> 63 else word
