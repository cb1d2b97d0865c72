"""Choices of a token from its logits: the largest, or one drawn with noise that belongs to the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.noise import StepNoise


class TokenChoice(ABC):
    """A pure function from logits to scores; the token with the largest score is chosen."""

    @abstractmethod
    def score_tokens(self, logits: Tensor, steps: Tensor) -> Tensor:
        """Return scores `(N, W, vocabulary)`.

        Args:
            logits: `(N, W, vocabulary)`.
            steps: int64 `(W,)`, counted from the first new token.
        """


@final
@dataclass(frozen=True)
class Greedy(TokenChoice):
    """The most probable token."""

    def score_tokens(self, logits: Tensor, steps: Tensor) -> Tensor:
        return logits


@final
@dataclass(frozen=True)
class Gumbel(TokenChoice):
    """A token drawn by the Gumbel-max trick: `argmax(logits / temperature + g)`, `g` fixed by seed and step.

    Its distribution is that of ordinary sampling, and the same seed gives the same text, but not that of
    `model.generate(do_sample=True)`, which draws otherwise.

    Args:
        seed: any whole number.
        temperature: above zero.
        top_k: only the `k` most probable tokens; None for all.
        top_p: only the most probable tokens that together reach this probability.
    """

    seed: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"Gumbel(temperature={self.temperature}) divides by it; for the best token pass Greedy()")
        leaves_no_token = self.top_k is not None and self.top_k < 1
        if leaves_no_token or not 0 < self.top_p <= 1:
            raise ValueError(
                f"Gumbel(top_k={self.top_k}, top_p={self.top_p}) leaves no token; pass top_k >= 1 and 0 < top_p <= 1"
            )

    def score_tokens(self, logits: Tensor, steps: Tensor) -> Tensor:
        best = self._mask_beyond_top_k(logits / self.temperature)
        warped = self._mask_beyond_top_p(best)
        shape = (2, len(logits), logits.shape[-1])
        step_noise = StepNoise(self.seed, logits.new_empty(shape))
        noise = []
        for step in steps.tolist():
            # half the square of two normal numbers is exponential, and minus its logarithm is Gumbel's
            exponential = step_noise(step).square().sum(0) / 2
            noise.append(-exponential.log())
        return warped + torch.stack(noise, 1)

    def _mask_beyond_top_k(self, logits: Tensor) -> Tensor:
        if self.top_k is None or self.top_k >= logits.shape[-1]:
            return logits
        threshold = logits.topk(self.top_k, -1).values[..., -1:]
        return logits.masked_fill(logits < threshold, -torch.inf)

    def _mask_beyond_top_p(self, logits: Tensor) -> Tensor:
        if self.top_p == 1:
            return logits
        ordered, places = logits.sort(-1, descending=True)
        shares = ordered.softmax(-1)
        is_beyond = shares.cumsum(-1) - shares >= self.top_p  # the token that reaches top_p stays
        is_masked = torch.zeros_like(is_beyond).scatter(-1, places, is_beyond)
        return logits.masked_fill(is_masked, -torch.inf)
