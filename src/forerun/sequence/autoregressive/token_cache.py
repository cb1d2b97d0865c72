"""The cache of a language model: logits of the last tokens of a sequence, with keys and values kept between calls."""

from __future__ import annotations

import inspect
from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache


@final
class TokenCache:
    """Logits of the last tokens of a sequence; keys and values are kept as far as the next sequence begins alike.

    They are looked up by the tokens that they were computed from, never by what a caller accepted: a call gives what a
    call without a cache would, to rounding, whatever was computed before.

    Args:
        model: a causal language model of transformers.
        mask: `(N, P)`, zero where a prompt is padded on its left; None where it is not.
        use_cache: False computes the whole sequence in every call.
    """

    def __init__(
        self,
        model: Any,
        mask: Tensor | None,
        *,
        use_cache: bool = True,
    ) -> None:
        self._model = model
        self._mask = mask
        self._use_cache = use_cache
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._takes_logits_to_keep = "logits_to_keep" in parameters
        self._cache_name = cache_name(model)
        self._cache = DynamicCache()
        self._tokens: Tensor | None = None

    def __call__(self, tokens: Tensor, count: int) -> Tensor:
        """Return logits `(N, count, vocabulary)` after each of the last `count` of the tokens `(N, L)`."""
        begin = self._crop_cache(tokens, tokens.shape[1] - count)
        options: dict[str, Any] = {"use_cache": self._use_cache}
        if self._mask is not None:
            options |= self._mask_options(self._mask, tokens.shape[1], begin)
        if self._use_cache:
            options[self._cache_name] = self._cache
        if self._takes_logits_to_keep:
            options["logits_to_keep"] = count
        output = self._model(input_ids=tokens[:, begin:], **options)
        self._tokens = tokens
        logits: Tensor = output.logits[:, -count:]
        return logits

    def _mask_options(
        self,
        mask: Tensor,
        length: int,
        begin: int,
    ) -> dict[str, Tensor]:
        """Return the mask for `length` tokens, and the positions of those from `begin` on."""
        new_tokens = length - mask.shape[1]
        mask = torch.nn.functional.pad(mask, (0, new_tokens), value=1)
        options = {"attention_mask": mask}
        if self._takes_positions:
            positions = (mask.cumsum(-1) - 1).clamp_min(0)
            options["position_ids"] = positions[:, begin:]
        return options

    def _crop_cache(self, tokens: Tensor, max_size: int) -> int:
        """Cut the cache where the tokens differ from the last ones; return the first token to compute."""
        if self._tokens is None or not self._use_cache:
            return 0
        length = self._tokens.shape[1]
        size = min(length, max_size)
        is_equal = self._tokens[:, :size] == tokens[:, :size]
        begin = int(is_equal.all(0).cumprod(0).sum())
        if length > begin:
            self._cache.crop(begin - length)
        return begin


def cache_name(model: Any) -> str:
    """Return what the model calls its cache of keys and values; transformers 5 renamed it."""
    if "cache" in inspect.signature(model.forward).parameters:
        return "cache"
    return "past_key_values"
