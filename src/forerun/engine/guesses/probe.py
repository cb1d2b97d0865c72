"""Probe: a few steps are evaluated beforehand, and the outputs between them interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.guesses.base import FilledSlots, Guess, KnownPrefix, sweep_on
from forerun.engine.guesses.hold import Hold
from forerun.engine.methods import Evaluate


@dataclass(frozen=True)
class Probe(Guess):
    """Before the first window, evaluate `count` steps spread over it at the first state, in one round.

    The outputs of the steps between are interpolated, and the path swept with them. Pays where the output depends on
    the step more than on the input, as in samplers without noise; with all steps evaluated also in recurrences, whose
    states follow their own inputs most.

    Args:
        count: steps to evaluate; None for all of them.
        hold: fills the slots that enter later, and a first window that is not twice as wide as what would be evaluated.
    """

    count: int | None = 8
    hold: Hold = Hold()

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        width = stop - prefix.start
        if prefix.outputs is not None:
            return self.hold.enter(prefix, stop, evaluate)
        row = prefix.observe_state()
        if self.count is None and width > 1:
            steps = prefix.problem.step_range(prefix.start, stop - 1)
            return sweep_on(prefix, evaluate(steps, row.expand(width - 1, *row.shape)))
        if self.count is None or self.count < 2 or width < 2 * self.count:
            return self.hold.enter(prefix, stop, evaluate)
        spread = torch.linspace(0, width - 1, self.count, dtype=torch.float64, device=row.device)
        slots = spread.round()
        outputs = evaluate(slots.long() + prefix.start, row.expand(self.count, *row.shape))
        return sweep_on(prefix, _interpolate_outputs(outputs, slots, width - 1))


def _interpolate_outputs(outputs: Tensor, slots: Tensor, count: int) -> Tensor:
    """Return the outputs of the slots `0 .. count-1`, on lines between those that were evaluated, float64 `slots`."""
    every_slot = torch.arange(count, device=slots.device, dtype=torch.float64)
    right = torch.searchsorted(slots, every_slot, right=True)
    left = right - 1
    share = (every_slot - slots[left]) / (slots[right] - slots[left])
    share = share.to(outputs).reshape(-1, *[1] * (outputs.dim() - 1))
    return torch.lerp(outputs[left], outputs[right], share)
