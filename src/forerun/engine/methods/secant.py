"""Secant: one scalar per step and sample, from the last two evaluations of that step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, Evaluated, Front
from forerun.engine.methods.slopes import SlopeMethod


@dataclass(frozen=True)
class Secant(SlopeMethod):
    """The slope that explains best what the last change of a step's input did to its output.

        s_i = <o_i - o_i', u_i - u_i'> / |u_i - u_i'|^2

    with `'` for the evaluation before. It costs no evaluation. A step evaluated once takes the slope of
    the nearest step before it that was evaluated twice; a slope beyond `bound` or not finite is dropped.
    """

    bound: float = 1.5

    def slopes(self, front: Front, evaluate: Evaluate) -> tuple[Tensor, Tensor | None, Tensor | None]:
        outputs = evaluate(front.steps, front.inputs)
        if front.previous is None or not front.problem.sloped:
            return outputs, None, None
        slopes = secant(front, outputs)
        slopes = torch.where(slopes.abs() <= self.bound, slopes, 0.0)
        return outputs, slopes, None


def secant(front, outputs):
    previous = front.previous
    past = slice(front.start - previous.start, None)
    known = len(previous.inputs[past])
    moved = front.inputs[:known] - previous.inputs[past]
    changed = outputs[:known] - previous.outputs[past]
    s = (changed * moved).sum(-1, keepdim=True) / (moved * moved).sum(-1, keepdim=True)
    s = torch.nan_to_num(s, 0, 0, 0)
    rest = len(outputs) - known
    fill = s[-1:] if NEIGHBOUR and known else torch.zeros_like(outputs[:1, ..., :1])
    return torch.cat([s, fill.expand(rest, *fill.shape[1:])])
NEIGHBOUR = True
