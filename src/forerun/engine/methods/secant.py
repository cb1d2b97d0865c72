"""Secant: one scalar per step and sample, from the last two evaluations of that step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, WindowState
from forerun.engine.methods.slopes import SlopeMethod


@dataclass(frozen=True)
class Secant(SlopeMethod):
    """The slope that explains best what the last change of a step's input did to its output.

        s_i = <o_i - o_i', u_i - u_i'> / |u_i - u_i'|^2

    with `'` for the evaluation before. It costs no evaluation. A step evaluated once takes the slope of the
    nearest step before it that was evaluated twice. A slope beyond `bound`, or not finite, is dropped.

    Args:
        bound: largest slope taken, by size.
    """

    bound: float = 10.0

    def slopes(self, front: WindowState, evaluate: Evaluate) -> tuple[Tensor, Tensor | None, None]:
        outputs = evaluate(front.steps, front.inputs)
        before = None if front.previous is None else front.previous.select_steps(front.start, len(outputs))
        if not before or not front.problem.accepts_slopes:
            return outputs, None, None
        moved = front.inputs[: len(before)] - before.inputs
        changed = outputs[: len(before)] - before.outputs
        slopes = torch.linalg.vecdot(changed, moved) / torch.linalg.vecdot(moved, moved)
        kept = torch.where(slopes.abs() <= self.bound, slopes, 0.0).unsqueeze(-1)  # nan <= bound is False
        entered = kept[-1:].expand(len(outputs) - len(before), *kept.shape[1:])
        return outputs, torch.cat([kept, entered]), None
