"""Logistic mixtures over the 17 grey levels of a digit: what both image networks predict for a pixel."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

LEVELS: Final = 17  # scikit-learn's digits have pixels 0 .. 16
MIXTURE: Final = 3
PARAMETERS: Final = 3 * MIXTURE  # weight, mean and scale of each logistic
STEEPEST: Final = -4.0  # logarithm of the smallest scale: a pixel of one level


def to_values(levels: Tensor) -> Tensor:
    """Levels 0 .. 16 as values in [-1, 1]; float32 where they are whole numbers."""
    return (levels if levels.is_floating_point() else levels.float()) * 2 / (LEVELS - 1) - 1


def cumulative(parameters: Tensor) -> Tensor:
    """The probability of a level not above 0 .. 15, `(..., 16)`; that of 16 is one.

        P(level <= l) = sum_k w_k sigmoid((v_l + 1/16 - m_k) / s_k)

    Salimans et al., PixelCNN++ (arXiv 1701.05517), where the outermost levels reach to infinity.

    Args:
        parameters: `(..., 9)`; logits of the weights, means, logarithms of the scales.
    """
    levels = torch.arange(LEVELS - 1, dtype=parameters.dtype, device=parameters.device)
    return _below(_mixture(parameters.unsqueeze(-2)), levels)


def bits(parameters: Tensor, levels: Tensor) -> Tensor:
    """Minus the binary logarithm of the probability of each level, `(...)`."""
    below = torch.nn.functional.pad(cumulative(parameters), (0, 1), value=1.0)
    shares = torch.diff(below, prepend=torch.zeros_like(below[..., :1]), dim=-1)
    likelihood = shares.gather(-1, levels.unsqueeze(-1)).squeeze(-1)
    return -torch.log2(likelihood.clamp_min(0) + 1e-7)  # differences of sums may round below zero


def draw(parameters: Tensor, uniform: Tensor) -> Tensor:
    """The value of the level whose cumulative probability first reaches `uniform`: inversion.

    A small change of the parameters seldom changes the level, which is what makes guesses come true.
    """
    mixture, level = _mixture(parameters), torch.zeros_like(uniform)
    for span in (8, 4, 2, 1, 1):  # bisection, from 0 to 16
        level = torch.where(_below(mixture, level + (span - 1)) < uniform, level + span, level)
    return to_values(level)


def _mixture(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and inverse scales, `(..., 3)`."""
    weights, means, scales = parameters.unflatten(-1, (3, MIXTURE)).unbind(-2)
    return weights.softmax(-1), means, torch.exp(-scales.clamp_min(STEEPEST))


def _below(mixture: tuple[Tensor, Tensor, Tensor], levels: Tensor) -> Tensor:
    """The probability of a level not above `levels` `(...)`."""
    weights, means, steep = mixture
    edges = ((levels + 0.5) * 2 / (LEVELS - 1) - 1).unsqueeze(-1)
    found: Tensor = (weights * torch.sigmoid((edges - means) * steep)).sum(-1)
    return found
