"""Tokens after a prompt: a causal language model as a `CausalFunction`."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from forerun.sequence.autoregressive.choice import TokenChoice
from forerun.sequence.autoregressive.own_loop import Decoding, ReplicaRefused
from forerun.sequence.autoregressive.token_cache import TokenCache
from forerun.sequence.causal import CausalFunction


@final
class TokenFunction(CausalFunction):
    """The tokens after a prompt.

    Args:
        decoding: prompts, logits processors and ends of text.
        cache: answers for the model.
        count: new tokens.
        choice: how a token follows from its scores.
    """

    def __init__(
        self,
        decoding: Decoding,
        cache: TokenCache,
        count: int,
        *,
        choice: TokenChoice,
    ) -> None:
        self.bounds = torch.arange(decoding.length, decoding.length + count + 1)
        self._decoding = decoding
        self._cache = cache
        self._choice = choice
        self._ends = decoding.ends
        self.gaps: dict[int, float] = {}  # of the last evaluation of each step, for the report alone
        self.largest_logit = 0.0

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        logits = self._compute_logits(steps, sequence)
        scores = score_steps(self._decoding, logits, steps, sequence, choice=self._choice)
        best = scores.topk(2, -1)
        has_ended = find_ended(sequence[:, self._decoding.length :], self._ends)[:, steps]
        gaps = best.values[..., 0] - best.values[..., 1]
        gaps = gaps.masked_fill(has_ended, torch.inf)
        self._report_gaps(steps, gaps.amin(0))
        tokens = scores.argmax(-1)  # of equal scores the one that transformers takes; topk may take another
        return tokens.masked_fill(has_ended, self._decoding.pad)

    def _compute_logits(self, steps: Tensor, sequence: Tensor) -> Tensor:
        """Return logits `(N, W, vocabulary)`."""
        first = int(steps[0])
        last = int(steps[-1])
        tokens = sequence[:, : self._decoding.length + last]
        logits = self._cache(tokens, last - first + 1)
        self.largest_logit = max(self.largest_logit, float(logits.abs().max()))
        return logits[:, steps - first]

    def _report_gaps(self, steps: Tensor, gaps: Tensor) -> None:
        """Remember the smallest lead of each step `(W,)` over the batch."""
        is_nan = gaps.isnan()
        if bool(is_nan.any()):
            step = int(steps[is_nan.cpu()][0])
            raise ReplicaRefused(
                f"the logits of new token {step} are not numbers (some models cannot attend where a prompt is padded: "
                "pass prompts of one length, or one at a time)"
            )
        self.gaps.update(zip(steps.tolist(), gaps.tolist(), strict=True))


def score_steps(
    decoding: Decoding,
    logits: Tensor,
    steps: Tensor,
    sequence: Tensor,
    *,
    choice: TokenChoice,
) -> Tensor:
    """Return the scores `(N, W, vocabulary)` of the tokens of `steps`, by transformers' processors and the choice."""
    if not decoding.processors:
        return choice.score_tokens(logits, steps)
    scores = []
    for index, step in enumerate(steps.tolist()):
        tokens = sequence[:, : decoding.length + step]
        scores.append(decoding.processors(tokens, logits[:, index].clone()))
    return choice.score_tokens(torch.stack(scores, 1), steps)


def find_ended(new_tokens: Tensor, ends: Tensor) -> Tensor:
    """Return whether a text has ended before each new token, and after the last one: `(N, new + 1)`."""
    is_end = torch.isin(new_tokens, ends)
    has_ended = is_end.cumsum(-1) > 0  # at or before each new token
    return torch.nn.functional.pad(has_ended, (1, 0))
