"""ElementTest: whether the outputs of steps depend on their inputs element by element, as a few evaluations show.

A row may hold many computations that know nothing of one another. Then its Jacobian is a diagonal, which one evaluation
beside the path shows whole: an element that grows while all others fade is lost in any slope they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.accepted_path import ParallelSteps
from forerun.engine.check.sampled_steps import SMALLEST_SHIFT

TESTED_STEPS: Final = 3
AGREEING_SLOPES: Final = 0.05  # of the largest slope, that slopes of one element may differ by
SIGN_PATTERNS: Final = 2


@dataclass(frozen=True)
class ElementTest:
    """Some accepted steps, to be evaluated at two shifts of the same size whose signs differ element by element.

    Attributes:
        places: part and index in it of each step.
        steps: the steps.
        rows: shifted inputs, `(SIGN_PATTERNS * m, *batch, D)`.
        shifts: likewise.
    """

    places: Sequence[tuple[int, int]]
    steps: Tensor
    rows: Tensor
    shifts: Tensor

    @classmethod
    def draw(cls, parts: Sequence[ParallelSteps]) -> ElementTest:
        """Return the test of some steps, spread over the parts of a path."""
        all_places: list[tuple[int, int]] = []
        for number, steps in enumerate(parts):
            for index in range(len(steps.inputs)):
                all_places.append((number, index))
        stride = max(len(all_places) // TESTED_STEPS, 1)
        places = all_places[stride // 2 :: stride][:TESTED_STEPS]
        inputs = torch.stack([parts[number].inputs[index] for number, index in places])
        sizes = SMALLEST_SHIFT * inputs.square().mean(-1, keepdim=True).sqrt()
        generator = torch.Generator().manual_seed(len(all_places))
        signs = _draw_signs(inputs.shape, generator).to(inputs)
        turns = []
        for number in range(len(places)):
            turn = _turn_signs(number, inputs.shape[-1], generator)
            turns.append(turn.to(inputs))
        turned = signs * torch.stack(turns).reshape(len(turns), *[1] * (signs.dim() - 2), -1)
        stacked = _repeat_rows(sizes) * torch.cat([signs, turned])
        steps_of_rows = []
        for number, index in places:
            steps_of_rows.append(parts[number].start + index)
        steps_of_rows = steps_of_rows * SIGN_PATTERNS
        rows = _repeat_rows(inputs) + stacked
        return cls(places, torch.tensor(steps_of_rows), rows, stacked)

    def is_passed(
        self,
        outputs: Tensor,
        path_outputs: Sequence[Tensor],
    ) -> bool:
        """Return whether every element of an output follows its own element of the input.

        Args:
            outputs: at the shifted inputs.
            path_outputs: at the accepted inputs, one tensor for each part.
        """
        if outputs.shape != self.rows.shape or outputs.shape[-1] < 2:
            return False
        plain = torch.stack([path_outputs[number][index] for number, index in self.places])
        slopes = (outputs - _repeat_rows(plain)) / self.shifts
        first, second = slopes.chunk(SIGN_PATTERNS)
        return slopes_agree(first, second)


def _draw_signs(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return random signs."""
    return torch.randint(0, 2, tuple(shape), generator=generator) * 2 - 1


def _turn_signs(
    number: int,
    width: int,
    generator: torch.Generator,
) -> Tensor:
    """Return which signs the second pattern turns: of few elements so that some test turns one of every two alone."""
    if width > 2**TESTED_STEPS:
        return _draw_signs([width], generator)
    return 1 - 2 * (torch.arange(width) >> number & 1)


def _repeat_rows(rows: Tensor) -> Tensor:
    """Return the rows once for each pattern of signs."""
    return torch.cat([rows] * SIGN_PATTERNS)


def slopes_agree(first: Tensor, second: Tensor) -> bool:
    """Return whether the slopes of all elements are the same by two shifts, whatever the signs of the others were."""
    largest = first.abs().amax(-1, keepdim=True)
    agrees = (first - second).abs() <= AGREEING_SLOPES * largest  # nan does not
    return bool(agrees.all())
