"""Preflight of a language model: short passes that show whether logits follow from the tokens before them alone."""

from __future__ import annotations

import inspect
from typing import Any, Final, final

import torch
from torch import Tensor
from transformers import DynamicCache

from forerun.sequence.autoregressive.own_loop import Decoding, ReplicaRefused

PROBE_LENGTH: Final = 6  # tokens of the sequence that is tried
LOGIT_THRESHOLD: Final = 1e-3  # of the largest logit: how far an early one may move by rounding
PROBE_ROUNDINGS: Final = 256.0  # of the dtype of the logits: by how many the width of a pass may move them
COARSEST_PROBE: Final = 0.05  # of the largest logit, however coarse the dtype


@final
class Preflight:
    """Short passes of the model of a decoding, at its batch size.

    Args:
        decoding: the model, and how its own `generate` calls it.
        vocabulary: how many tokens it has.
        use_cache: whether its keys and values are kept.
    """

    def __init__(self, decoding: Decoding, *, vocabulary: int, use_cache: bool) -> None:
        self._model = decoding.model
        self._name = type(decoding.model).__name__
        self._cache_name = decoding.cache_name
        self._prompt_length = decoding.length
        self._use_cache = use_cache
        self._vocabulary = vocabulary
        places = torch.arange(PROBE_LENGTH, device=decoding.prompts.device)
        self._tokens = (places * 7 % vocabulary).expand(len(decoding.prompts), -1)

    @torch.no_grad()
    def check_model(self, last_position: int) -> None:
        """Refuse a model whose logits follow from more than the tokens before them.

        Raises:
            TypeError, ValueError: it is not a causal model, or does not use the cache.
            ReplicaRefused: its logits change with the width of a pass, or with the last position in it.
        """
        cache = DynamicCache() if self._use_cache else None
        logits = self._compute_logits(self._tokens, cache)
        self._check_causality(logits)
        if cache is not None and cache.get_seq_length() != PROBE_LENGTH:
            raise ValueError(
                f"{self._name} did not use the cache that it was given; pass cache=False to compute the whole "
                "sequence in every pass"
            )
        self._check_width(logits)
        self._check_positions(last_position)

    def _check_causality(self, logits: Tensor) -> None:
        """Change the second half of a sequence, and see whether the logits of the first half change."""
        middle = PROBE_LENGTH // 2
        changed = self._tokens.clone()
        changed[:, middle:] = (changed[:, middle:] + 1) % self._vocabulary
        change = _largest_change(self._compute_logits(changed)[:, :middle], logits[:, :middle])
        if change > LOGIT_THRESHOLD:
            if self._depends_on_width(logits):
                raise ReplicaRefused("its logits change with the other tokens of a pass, as those of int8 layers do")
            raise ValueError(
                f"{self._name} looks ahead: logits changed with a later token, so it is not a causal model; "
                "use a model of AutoModelForCausalLM (is_decoder=True)"
            )

    def _depends_on_width(self, logits: Tensor) -> bool:
        """Return whether layers are quantized, so that the rounding of a token follows from all tokens of a pass."""
        return any("quantized" in type(module).__module__ for module in self._model.modules())

    def _check_width(self, logits: Tensor) -> None:
        """Compute the same logits one token a pass, as the ordinary loop does."""
        cache = DynamicCache() if self._use_cache else None
        for place in range(1, PROBE_LENGTH):
            begin = place - 1 if cache is not None else 0
            narrow = self._compute_logits(self._tokens[:, begin:place], cache)
            change = _largest_change(narrow[:, -1], logits[:, place - 1])
            allowed = min(PROBE_ROUNDINGS * torch.finfo(logits.dtype).eps, COARSEST_PROBE)
            if not change <= allowed:
                raise ReplicaRefused(
                    f"its logits change with the number of tokens of a pass, by {change:.1g} of the largest"
                )

    def _check_positions(self, last_position: int) -> None:
        """Move the last token from the end of the prompts to that of the texts: earlier logits must stay."""
        parameters = inspect.signature(self._model.forward).parameters
        if "position_ids" not in parameters or last_position < PROBE_LENGTH:
            return
        positions = torch.arange(PROBE_LENGTH, device=self._tokens.device).expand(self._tokens.shape)
        near_positions = positions.clone()
        near_positions[:, -1] = max(PROBE_LENGTH, self._prompt_length) - 1
        near = self._compute_logits(self._tokens, position_ids=near_positions)
        far_positions = positions.clone()
        far_positions[:, -1] = last_position
        far = self._compute_logits(self._tokens, position_ids=far_positions)
        change = _largest_change(far[:, :-1], near[:, :-1])
        if change > LOGIT_THRESHOLD:
            raise ReplicaRefused("its logits change with the last position of a pass, as some rotary positions do")

    def _compute_logits(self, tokens: Tensor, cache: Any = None, **inputs: Tensor) -> Tensor:
        """Return logits `(N, L, vocabulary)` of tokens that go on from what the cache holds."""
        if cache is not None:
            inputs[self._cache_name] = cache
        output = self._model(input_ids=tokens.contiguous(), use_cache=cache is not None, **inputs)
        logits: Tensor | None = getattr(output, "logits", None)
        if logits is None or logits.shape[:2] != tokens.shape:
            raise TypeError(f"{self._name} returns no logits a token; use a model of AutoModelForCausalLM")
        return logits


def _largest_change(logits: Tensor, others: Tensor) -> float:
    """Return the largest difference, in units of the largest logit."""
    change = (logits.float() - others.float()).abs().max()
    return float(change / others.float().abs().max().clamp_min(torch.finfo(torch.float32).tiny))
