"""Tokens after a prompt: a causal language model as a `CausalFunction`."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from forerun.sequence.autoregressive.choice import TokenChoice
from forerun.sequence.autoregressive.token_cache import TokenCache
from forerun.sequence.causal import CausalFunction

HALF_PRECISION = {torch.float16, torch.bfloat16}


@final
class TokenFunction(CausalFunction):
    """The tokens after a prompt.

    Args:
        cache: answers for the model.
        prompt: length of the prompt.
        count: new tokens.
        choice: how a token follows from its logits.
        ends: the tokens that end a text, `(K,)`; may be empty.
        pad: what follows after them.
    """

    def __init__(
        self,
        cache: TokenCache,
        prompt: int,
        count: int,
        *,
        choice: TokenChoice,
        ends: Tensor,
        pad: int,
    ) -> None:
        self.bounds = torch.arange(prompt, prompt + count + 1)
        self._cache = cache
        self._prompt = prompt
        self._choice = choice
        self._ends = ends
        self._pad = pad
        self.gaps: dict[int, float] = {}  # of the last evaluation of each step, for the report alone

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        logits = self._compute_logits(steps, sequence)
        scores = self._choice.score_tokens(logits, steps)
        best = scores.topk(2, -1)
        has_ended = self._has_ended(steps, sequence)
        gaps = best.values[..., 0] - best.values[..., 1]
        gaps = gaps.masked_fill(has_ended, torch.inf)
        self._report_gaps(steps, gaps.amin(0))
        tokens = best.indices[..., 0]
        return tokens.masked_fill(has_ended, self._pad)

    def _compute_logits(self, steps: Tensor, sequence: Tensor) -> Tensor:
        """Return logits `(N, W, vocabulary)`, in float32 at least."""
        first = int(steps[0])
        last = int(steps[-1])
        tokens = sequence[:, : self._prompt + last]
        logits = self._cache(tokens, last - first + 1)
        logits = logits[:, steps - first]
        if not logits.is_floating_point() or logits.dtype in HALF_PRECISION:
            return logits.float()
        return logits

    def _has_ended(self, steps: Tensor, sequence: Tensor) -> Tensor:
        """Return whether a text has ended before each of the steps, `(N, W)`."""
        new_tokens = sequence[:, self._prompt :]
        is_end = torch.isin(new_tokens, self._ends)
        has_ended = is_end.cumsum(-1) > 0  # at or before each new token
        has_ended = torch.nn.functional.pad(has_ended, (1, 0))
        return has_ended[:, steps]

    def _report_gaps(self, steps: Tensor, gaps: Tensor) -> None:
        """Remember the smallest lead of each step `(W,)` over the batch."""
        is_nan = gaps.isnan()
        if bool(is_nan.any()):
            step = int(steps[is_nan.cpu()][0])
            raise ValueError(
                f"the logits of new token {step} are not numbers; some models cannot "
                "attend where a prompt is padded: pass prompts of one length, or one at a time"
            )
        self.gaps.update(zip(steps.tolist(), gaps.tolist(), strict=True))
