"""Logistic mixtures over the 17 grey levels of a digit: what both image networks predict for a pixel."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

GREY_LEVELS: Final = 17  # scikit-learn's digits have pixels 0 .. 16
MIXTURE_SIZE: Final = 3
PIXEL_PARAMETERS: Final = 3 * MIXTURE_SIZE  # weight, mean and scale of each logistic
MIN_LOG_SCALE: Final = -4.0  # logarithm of the smallest scale: a pixel of one level
BISECTION_SPANS: Final = (8, 4, 2, 1, 1)  # from level 0 to level 16
SMALLEST_PROBABILITY: Final = 1e-7  # added to a probability before its logarithm


def to_values(levels: Tensor) -> Tensor:
    """Return levels 0 .. 16 as values in [-1, 1]; float32 where they are whole numbers."""
    if not levels.is_floating_point():
        levels = levels.float()
    return levels * 2 / (GREY_LEVELS - 1) - 1


def cumulative_shares(parameters: Tensor) -> Tensor:
    """Return the probability of a level not above 0 .. 15, `(..., 16)`; that of 16 is one.

        P(level <= l) = sum_k w_k sigmoid((v_l + 1/16 - m_k) / s_k)

    Salimans et al., PixelCNN++ (arXiv 1701.05517), where the outermost levels reach to infinity.

    Args:
        parameters: `(..., 9)`; logits of the weights, means, logarithms of the scales.
    """
    levels = torch.arange(
        GREY_LEVELS - 1,
        dtype=parameters.dtype,
        device=parameters.device,
    )
    mixture = _split_mixture(parameters.unsqueeze(-2))
    return _share_up_to(levels, mixture)


def pixel_bits(parameters: Tensor, levels: Tensor) -> Tensor:
    """Return minus the binary logarithm of the probability of each level, `(...)`."""
    cumulative = cumulative_shares(parameters)
    cumulative = torch.nn.functional.pad(cumulative, (0, 1), value=1.0)
    zero = torch.zeros_like(cumulative[..., :1])
    shares = torch.diff(cumulative, prepend=zero, dim=-1)
    likelihood = shares.gather(-1, levels.unsqueeze(-1))
    likelihood = likelihood.squeeze(-1)
    likelihood = likelihood.clamp_min(0)  # differences of sums may round below zero
    return -torch.log2(likelihood + SMALLEST_PROBABILITY)


def draw_pixels(parameters: Tensor, uniform: Tensor) -> Tensor:
    """Return the value of the level whose cumulative probability first reaches `uniform`: inversion.

    A small change of the parameters seldom changes the level, which is what makes guesses come true.
    """
    mixture = _split_mixture(parameters)
    level = torch.zeros_like(uniform)
    for span in BISECTION_SPANS:
        share = _share_up_to(level + (span - 1), mixture)
        is_above = share < uniform
        level = torch.where(is_above, level + span, level)
    return to_values(level)


def _split_mixture(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights, means and inverse scales, `(..., 3)`."""
    rows = parameters.unflatten(-1, (3, MIXTURE_SIZE))
    logits, means, log_scales = rows.unbind(-2)
    weights = logits.softmax(-1)
    log_scales = log_scales.clamp_min(MIN_LOG_SCALE)
    steepness = torch.exp(-log_scales)
    return weights, means, steepness


def _share_up_to(levels: Tensor, mixture: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the probability of a level not above `levels` `(...)`."""
    weights, means, steepness = mixture
    upper = (levels + 0.5) * 2 / (GREY_LEVELS - 1) - 1
    upper = upper.unsqueeze(-1)
    distance = upper - means
    shares = torch.sigmoid(distance * steepness)
    total: Tensor = (weights * shares).sum(-1)
    return total
