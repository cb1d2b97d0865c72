"""Tokens: a causal language model as a `CausalFunction`, with a cache of keys and values that follows what is asked."""

from __future__ import annotations

import inspect
from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache

from forerun.sequence.autoregressive.choice import TokenChoice
from forerun.sequence.autoregressive.validation import cache_name
from forerun.sequence.causal import CausalFunction


@final
class Cache:
    """Logits of the last tokens of a sequence; keys and values are kept as far as the next sequence begins alike.

    What is kept is looked up by the tokens that it was computed from, never by what a caller accepted: a call gives
    what a call without a cache would, to rounding, whatever was asked before.

    Args:
        model: a causal language model of transformers.
        mask: `(N, P)`, zero where a prompt is padded on its left; None where it is not.
        kept: False computes the whole sequence in every call.
    """

    def __init__(self, model: Any, mask: Tensor | None, *, kept: bool = True) -> None:
        self._model, self._mask, self._kept = model, mask, kept
        parameters = inspect.signature(model.forward).parameters
        self._placed = "position_ids" in parameters
        self._short = "logits_to_keep" in parameters
        self._name = cache_name(model)
        self._cache = DynamicCache() if kept else None
        self._tokens: Tensor | None = None

    def __call__(self, tokens: Tensor, count: int) -> Tensor:
        """Logits `(N, count, vocabulary)` after each of the last `count` of the tokens `(N, L)`."""
        begin = self._begin(tokens, tokens.shape[1] - count)
        options: dict[str, Any] = {"use_cache": self._kept}
        if self._mask is not None:
            mask = torch.nn.functional.pad(self._mask, (0, tokens.shape[1] - self._mask.shape[1]), value=1)
            options["attention_mask"] = mask
            if self._placed:
                options["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, begin:]
        if self._kept:
            options[self._name] = self._cache
        if self._short:
            options["logits_to_keep"] = count
        found = self._model(input_ids=tokens[:, begin:], **options)
        self._tokens = tokens
        logits: Tensor = found.logits[:, -count:]
        return logits

    def _begin(self, tokens: Tensor, most: int) -> int:
        """The first token to compute; the cache is cut off there."""
        if self._tokens is None or not self._kept or self._cache is None:
            return 0
        size = min(self._tokens.shape[1], most)
        same = (self._tokens[:, :size] == tokens[:, :size]).all(0)
        begin = int(same.cumprod(0).sum())
        if self._tokens.shape[1] > begin:
            self._cache.crop(begin - self._tokens.shape[1])
        return begin


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

    def __init__(self, cache: Cache, prompt: int, count: int, *, choice: TokenChoice, ends: Tensor, pad: int) -> None:
        self.bounds = torch.arange(prompt, prompt + count + 1)
        self._cache, self._prompt, self._choice = cache, prompt, choice
        self._ends, self._pad = ends, pad
        self.gaps: dict[int, float] = {}  # of the last evaluation of each step, for the report alone

    def values(self, steps: Tensor, sequence: Tensor) -> Tensor:
        first, last = int(steps[0]), int(steps[-1])
        logits = self._cache(sequence[:, : self._prompt + last], last - first + 1)[:, steps - first]
        if not logits.is_floating_point() or logits.dtype in {torch.float16, torch.bfloat16}:
            logits = logits.float()
        best = self._choice.scores(logits, steps).topk(2, -1)
        ended = torch.isin(sequence[:, self._prompt :], self._ends).cumsum(-1) > 0  # at or before each new token
        ended = torch.nn.functional.pad(ended, (1, 0))[:, steps]  # before it
        gaps = (best.values[..., 0] - best.values[..., 1]).masked_fill(ended, torch.inf).amin(0)
        if bool(gaps.isnan().any()):
            place = int(steps[gaps.isnan().cpu()][0])
            raise ValueError(
                f"the logits of new token {place} are not numbers; some models cannot "
                "attend where a prompt is padded: pass prompts of one length, or one at a time"
            )
        self.gaps.update(zip(steps.tolist(), gaps.tolist(), strict=True))
        return best.indices[..., 0].masked_fill(ended, self._pad)
