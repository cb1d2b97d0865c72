"""Snake: an activation that learns periodic functions and goes on with them, x + sin^2(a x) / a."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Snake", "init_weights", "snake_variance"]


class Snake(nn.Module):
    """The activation `x + sin(a x)^2 / a` (Ziyin, Hartwig and Ueda, arXiv 2006.08195).

    It rises everywhere, like ReLU, and swings, so that what a network makes of a period goes on beyond its data. With
    `a = 0` it is the identity.

    Args:
        frequency: `a` to begin with: about the frequencies that are expected, 5 to 50 for periods in normalised data.
        features: a frequency of its own for each of the last axis's features; None for one for all.
        learnable: whether frequencies are trained.
        spread: draw them as |normal| with this deviation instead, as the authors do for temperatures (50).

    Raises:
        ValueError: a frequency that is negative or not finite, or a spread without features.
    """

    def __init__(
        self,
        frequency: float = 1.0,
        *,
        features: int | None = None,
        learnable: bool = True,
        spread: float | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= frequency < math.inf:
            raise ValueError(f"a frequency must be finite and not negative, got {frequency}: Snake(20.0)")
        if spread is not None and (features is None or not 0 <= spread < math.inf):
            raise ValueError(f"a spread needs features, and is finite: got spread={spread}, features={features}")
        frequencies = torch.full((1 if features is None else features,), float(frequency))
        if spread is not None:
            frequencies = (spread * torch.randn(len(frequencies))).abs()
        self.frequency = nn.Parameter(frequencies, requires_grad=learnable)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the activation, elementwise; finite for every frequency, zero among them."""
        a = self.frequency
        return inputs + a * (inputs * torch.sinc(a * inputs / math.pi)).square()

    def extra_repr(self) -> str:
        """Return the frequencies' number and mean, for `print(model)`."""
        return f"features={len(self.frequency)}, mean frequency={float(self.frequency.detach().mean()):.3g}"


def snake_variance(frequency: float) -> float:
    """Return the variance of the activation of a normal number: `1 + (1 + e^{-8 a^2} - 2 e^{-4 a^2}) / (8 a^2)`."""
    if frequency == 0:
        return 1.0
    square = frequency * frequency
    return 1 + (1 + math.exp(-8 * square) - 2 * math.exp(-4 * square)) / (8 * square)


@torch.no_grad()
def init_weights(layer: nn.Linear, frequency: float) -> nn.Linear:
    """Initialise a layer whose inputs come from a Snake, so that variances neither grow nor shrink; return it.

    Weights are uniform with the variance `1 / (fan_in * snake_variance(a))`, biases are zero.
    """
    bound = math.sqrt(3 / (layer.in_features * snake_variance(frequency)))
    layer.weight.uniform_(-bound, bound)
    if layer.bias is not None:
        layer.bias.zero_()
    return layer
