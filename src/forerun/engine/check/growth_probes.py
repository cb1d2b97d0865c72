"""GrowthProbes: whether distances grow along the path as the Jacobians of the check say, in directions drawn at random.

A sample at the shadow sees only what lies along its distance. Where the check takes distances to fade by slopes that no
move has shown, what does not fade is in other directions. At a few sampled steps a random shift is carried once by
evaluation and once by the Jacobian; the mean of each growth says how far an error reaches along the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.element_test import slopes_agree
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.sampled_steps import SMALLEST_SHIFT

LARGEST_LOG_GROWTH: Final = 4.0  # of a probe in one step
LARGEST_EXPONENT_OF_REACH: Final = 60.0


@dataclass(frozen=True)
class GrowthProbes:
    """Random shifts at some accepted steps.

    Attributes:
        steps: the steps, `m` of them.
        inputs: accepted, `(m, *batch, D)`.
        shifts: likewise.
        expected: what their Jacobians make of the shifts, `(m, *batch, E)`.
        state_factors: `a` of the closed form, by which a shift of the state enters the next one.
        output_factors: `b`, by which a change of an output does.
    """

    steps: Sequence[int]
    inputs: Tensor
    shifts: Tensor
    expected: Tensor
    state_factors: Tensor
    output_factors: Tensor

    @classmethod
    def draw(
        cls,
        steps: Sequence[int],
        inputs: Tensor,
        jacobian: Jacobian,
        *,
        state_factors: Tensor,
        output_factors: Tensor,
    ) -> GrowthProbes:
        """Return one probe a step, the same ones on every rank.

        Args:
            steps: the steps, `m` of them.
            inputs: accepted, `(m, *batch, D)`.
            jacobian: their estimates.
            state_factors: `a` of the closed form, `(m, ..., 1)`.
            output_factors: `b` of the closed form.
        """
        shifts = []
        for step, row in zip(steps, inputs, strict=True):
            generator = torch.Generator().manual_seed(step)
            signs = torch.randint(0, 2, row.shape, generator=generator).to(row) * 2 - 1
            size = row.square().mean(-1, keepdim=True).sqrt()
            shifts.append(SMALLEST_SHIFT * size * signs)
        stacked = torch.stack(shifts)
        return cls(steps, inputs, stacked, jacobian.multiply_moves(stacked), state_factors, output_factors)

    def measure_element_growth(
        self,
        outputs: Tensor,
        shifted_outputs: Tensor,
    ) -> Tensor:
        """Return logarithms `(m, *batch, D)` of the growth of every element, where it follows itself alone."""
        slopes = (shifted_outputs - outputs) / self.shifts
        growth = (self.state_factors + self.output_factors * slopes).abs()
        smallest = torch.finfo(growth.dtype).tiny
        return growth.clamp_min(smallest).log().clamp(-LARGEST_LOG_GROWTH, LARGEST_LOG_GROWTH)

    def turn_first_shift(self) -> Tensor:
        """Return the shift of the first probe with the signs of every other element turned, `(1, *batch, D)`."""
        signs = torch.ones_like(self.shifts[:1])
        signs[..., ::2] = -1
        return self.shifts[:1] * signs

    def measure_growth(
        self,
        outputs: Tensor,
        shifted_outputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return logarithms `(m, *batch)` of the growth in a step: measured, and by the Jacobians.

        Args:
            outputs: at the inputs.
            shifted_outputs: at the inputs and their shifts.
        """
        measured = self._measure_ends(shifted_outputs - outputs)
        return measured, self._measure_ends(self.expected)

    def _measure_ends(self, changes: Tensor) -> Tensor:
        ends = self.state_factors * self.shifts + self.output_factors * changes
        smallest = torch.finfo(ends.dtype).tiny
        sizes = torch.linalg.vector_norm(self.shifts, dim=-1).clamp_min(smallest)
        growth = torch.linalg.vector_norm(ends, dim=-1) / sizes
        logarithms: Tensor = growth.clamp_min(smallest).log().clamp(-LARGEST_LOG_GROWTH, LARGEST_LOG_GROWTH)
        return logarithms


def measure_reach(log_growth: Tensor, length: int) -> Tensor:
    """Return through how many steps an error is felt that grows by `exp(log_growth)` in each: `sum_k exp(k g)`."""
    exponents = torch.arange(length, device=log_growth.device, dtype=torch.float64)
    powers = (log_growth.double().unsqueeze(-1) * exponents).clamp_max(LARGEST_EXPONENT_OF_REACH).exp()
    return powers.sum(-1)


def measure_farther_reach(
    probes: Sequence[GrowthProbes],
    outputs: Tensor,
    length: int,
) -> float:
    """Return how many times farther distances reach than the Jacobians say, at most over the samples.

    Args:
        probes: in at least one part.
        outputs: at all inputs, then at all shifted inputs, and then at the first input with its shift turned.
        length: steps of the path.
    """
    count = len(outputs) // 2
    by_element = _follows_elements(probes[0], outputs[0], outputs[count], outputs[-1])
    measured, expected, first = [], [], 0
    for probed in probes:
        last = first + len(probed.steps)
        plain, shifted = outputs[first:last], outputs[count + first : count + last]
        growth, expected_growth = probed.measure_growth(plain, shifted)
        measured.append(probed.measure_element_growth(plain, shifted) if by_element else growth)
        expected.append(expected_growth)
        first = last
    reach = measure_reach(torch.cat(measured).mean(0), length)
    expected_reach = measure_reach(torch.cat(expected).mean(0), length)
    if by_element:
        reach = reach.amax(-1)
    return float((reach / expected_reach).nan_to_num(1.0).max()) if reach.numel() else 1.0


def _follows_elements(
    probed: GrowthProbes,
    output: Tensor,
    shifted_output: Tensor,
    turned_output: Tensor,
) -> bool:
    """Return whether every element of an output follows its own element of the input, by two shifts of one input."""
    shift, turned = probed.shifts[0], probed.turn_first_shift()[0]
    if shift.shape != output.shape or shift.shape[-1] < 2:
        return False
    return slopes_agree((shifted_output - output) / shift, (turned_output - output) / turned)
