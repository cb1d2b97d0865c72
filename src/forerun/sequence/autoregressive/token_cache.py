"""The cache of a language model: logits of the last tokens of a sequence, with keys and values kept between calls."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from transformers import DynamicCache

from forerun.sequence.autoregressive.own_loop import Decoding


@final
class TokenCache:
    """Logits of the last tokens of a sequence; keys and values are kept as far as the next sequence begins alike.

    They are looked up by the tokens that they were computed from, never by what a caller accepted: a call gives what a
    call without a cache would, to rounding, whatever was computed before.

    Args:
        decoding: the model, and how its own `generate` calls it.
        use_cache: False computes the whole sequence in every call.
    """

    def __init__(self, decoding: Decoding, *, use_cache: bool = True) -> None:
        self._decoding = decoding
        self._cache = DynamicCache() if use_cache else None
        self._tokens: Tensor | None = None

    def __call__(self, tokens: Tensor, count: int) -> Tensor:
        """Return logits `(N, count, vocabulary)` after each of the last `count` of the tokens `(N, L)`."""
        begin = self._crop_cache(tokens, tokens.shape[1] - count)
        inputs = self._decoding.prepare_pass(tokens, begin, count=count, cache=self._cache)
        output = self._decoding.model(**inputs, return_dict=True)
        self._tokens = tokens
        logits: Tensor = output.logits[:, -count:]
        return logits.float()  # as transformers' own loop does

    def _crop_cache(self, tokens: Tensor, max_size: int) -> int:
        """Cut the cache where the tokens differ from the last ones; return the first token to compute."""
        if self._tokens is None or self._cache is None:
            return 0
        length = self._tokens.shape[1]
        size = min(length, max_size)
        is_equal = self._tokens[:, :size] == tokens[:, :size]
        begin = int(is_equal.all(0).cumprod(0).sum())
        if length > begin:
            self._cache.crop(begin - length)
        return begin


@torch.no_grad()
def compute_logits(decoding: Decoding, tokens: Tensor, count: int) -> Tensor:
    """Return the float32 logits after the last `count` of the tokens, by one call of the model without a cache."""
    return TokenCache(decoding, use_cache=False)(tokens, count)
