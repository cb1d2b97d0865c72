"""How a token follows from its logits: the largest, or one drawn with noise that belongs to the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.noise import StepNoise


class TokenChoice(ABC):
    """A pure function from logits to scores; the token with the largest score is taken."""

    @abstractmethod
    def scores(self, logits: Tensor, steps: Tensor) -> Tensor:
        """`(N, W, vocabulary)` from logits of that shape and the steps `(W,)`, counted from the first new token."""


@final
@dataclass(frozen=True)
class Greedy(TokenChoice):
    """The most probable token."""

    def scores(self, logits: Tensor, steps: Tensor) -> Tensor:
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
        if not 0 < self.top_p <= 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(
                f"Gumbel(top_k={self.top_k}, top_p={self.top_p}) leaves no token; pass top_k >= 1 and 0 < top_p <= 1"
            )

    def scores(self, logits: Tensor, steps: Tensor) -> Tensor:
        warped = self._nucleus(self._best(logits / self.temperature))
        normal = StepNoise(self.seed, logits.new_empty((2, len(logits), logits.shape[-1])))
        # half the square of two normal numbers is exponential, and minus its logarithm is Gumbel's
        noise = [-(normal(step).square().sum(0) / 2).log() for step in steps.tolist()]
        return warped + torch.stack(noise, 1)

    def _best(self, logits: Tensor) -> Tensor:
        if self.top_k is None or self.top_k >= logits.shape[-1]:
            return logits
        least = logits.topk(self.top_k, -1).values[..., -1:]
        return logits.masked_fill(logits < least, -torch.inf)

    def _nucleus(self, logits: Tensor) -> Tensor:
        if self.top_p == 1:
            return logits
        ordered, places = logits.sort(-1, descending=True)
        shares = ordered.softmax(-1)
        beyond = shares.cumsum(-1) - shares >= self.top_p  # the token that reaches top_p stays
        return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, places, beyond), -torch.inf)
