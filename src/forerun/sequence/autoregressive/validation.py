"""Validation of what `generate` takes: prompts, models and their generation configs, before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from forerun.sequence.autoregressive.token_cache import cache_name

NEUTRAL_SETTINGS: Final[Mapping[str, Any]] = {  # where the settings of a generation config do not change logits
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "min_length": 0,
    "min_new_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "guidance_scale": None,
    "watermarking_config": None,
}
PROBE_LENGTH: Final = 6  # tokens of the sequence that shows whether the model looks ahead
LOGIT_THRESHOLD: Final = 1e-3  # of the largest logit: how far an early one may move by rounding
CROPPABLE_LAYERS: Final = {"DynamicLayer", "DynamicSlidingWindowLayer"}


def check_prompt(input_ids: Tensor, mask: Tensor | None, count: int) -> None:
    """Refuse prompts and lengths that cannot be continued."""
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"max_new_tokens={count!r} asks for no token; pass max_new_tokens=32")
    _check_input_ids(input_ids)
    if mask is not None:
        _check_mask(mask, input_ids)


def _check_input_ids(input_ids: Any) -> None:
    advice = "pass int64 (N, P), such as tokenizer(text, return_tensors='pt').input_ids"
    if not isinstance(input_ids, Tensor):
        raise ValueError(f"input_ids came as {type(input_ids).__name__}; {advice}")
    if input_ids.dtype != torch.int64 or input_ids.dim() != 2:
        raise ValueError(f"input_ids came as {input_ids.dtype} {list(input_ids.shape)}; {advice}")
    if not input_ids.numel():
        raise ValueError(f"input_ids of shape {list(input_ids.shape)} hold no token; begin with the bos token, P >= 1")


def _check_mask(mask: Tensor, input_ids: Tensor) -> None:
    if mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask is {list(mask.shape)} for input_ids {list(input_ids.shape)}; pass the tokenizer's own mask"
        )
    ends_with_padding = not bool(mask[:, -1].all())
    falls = mask[:, 1:] < mask[:, :-1]
    if ends_with_padding or bool(falls.any()):
        raise ValueError(
            "attention_mask has zeros after a token, so a prompt would go on after a hole; pad on the left: "
            "tokenizer.padding_side = 'left'"
        )


@torch.no_grad()
def check_model(model: Any, input_ids: Tensor, *, use_cache: bool) -> None:
    """Refuse models that would not give the ordinary loop's tokens."""
    _check_kind(model)
    if model.training:
        raise ValueError("the model is in training mode, where dropout answers twice differently; call model.eval()")
    _check_generation_config(model)
    embedding: Any = model.get_input_embeddings()
    vocabulary = int(embedding.num_embeddings)
    _check_vocabulary(input_ids, vocabulary)
    if use_cache and not _can_be_cropped(model.config):
        raise ValueError(
            f"the cache of {type(model).__name__} cannot be cut where a guess was wrong; pass cache=False to compute "
            "the whole sequence in every pass"
        )
    _probe_model(model, input_ids.device, vocabulary=vocabulary, use_cache=use_cache)


def _check_kind(model: Any) -> None:
    config = getattr(model, "config", None)
    if config is None or not isinstance(model, nn.Module):
        raise TypeError(
            f"generate takes a causal language model of transformers, got {type(model).__name__}; write "
            "AutoModelForCausalLM.from_pretrained(name)"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise TypeError(
            f"{type(model).__name__} is an encoder-decoder, whose decoder alone cannot be called; "
            "use a model of AutoModelForCausalLM"
        )


def _check_generation_config(model: Any) -> None:
    config = getattr(model, "generation_config", None)
    for name, neutral in NEUTRAL_SETTINGS.items():
        value = getattr(config, name, None)
        if value is not None and value != neutral:
            raise ValueError(
                f"model.generation_config.{name} is {value!r}, which generate does not follow; set it to {neutral!r}, "
                "or use model.generate"
            )


def _check_vocabulary(input_ids: Tensor, vocabulary: int) -> None:
    smallest = int(input_ids.min())
    largest = int(input_ids.max())
    if smallest < 0 or largest >= vocabulary:
        raise ValueError(
            f"input_ids reach from {smallest} to {largest}, but the model knows tokens 0 .. {vocabulary - 1}; use the "
            "tokenizer of the model"
        )


def _can_be_cropped(config: Any) -> bool:
    """Return whether all layers keep keys and values of every token, or of the last ones: no running state."""
    layers = DynamicCache(config=config).layers
    return {type(layer).__name__ for layer in layers} <= CROPPABLE_LAYERS


def _probe_model(
    model: Any,
    device: torch.device,
    *,
    vocabulary: int,
    use_cache: bool,
) -> None:
    """Change the second half of a sequence, and see whether the logits of the first half change."""
    name = type(model).__name__
    middle = PROBE_LENGTH // 2
    places = torch.arange(PROBE_LENGTH, device=device)
    tokens = places * 7 % vocabulary
    changed = torch.where(places < middle, tokens, (tokens + 1) % vocabulary)
    cache = DynamicCache()
    options: dict[str, Any] = {"use_cache": use_cache}
    if use_cache:
        options[cache_name(model)] = cache
    output = model(input_ids=torch.stack([tokens, changed]), **options)
    logits = getattr(output, "logits", None)
    if logits is None or logits.shape[:2] != (2, PROBE_LENGTH):
        raise TypeError(f"{name} returns no logits a token; use a model of AutoModelForCausalLM")
    if _differ(logits[:, :middle].float()):
        raise ValueError(
            f"{name} looks ahead: logits changed with a later token, so it is not a causal model; "
            "use a model of AutoModelForCausalLM (is_decoder=True)"
        )
    if use_cache and cache.get_seq_length() != PROBE_LENGTH:
        raise ValueError(
            f"{name} did not use the cache that it was given; pass cache=False to compute the whole "
            "sequence in every pass"
        )


def _differ(logits: Tensor) -> bool:
    """Return whether two rows of logits `(2, L, vocabulary)` differ by more than rounding."""
    change = float((logits[0] - logits[1]).abs().max())
    return change > LOGIT_THRESHOLD * float(logits.abs().max())


def find_ends(
    model: Any,
    eos_token_id: int | Sequence[int] | None,
    device: torch.device,
) -> tuple[Tensor, int]:
    """Return the tokens that end a text, and the one that pads it then."""
    config = getattr(model, "generation_config", None)
    if eos_token_id is None:
        eos_token_id = getattr(config, "eos_token_id", None)
    ends = _list_tokens(eos_token_id)
    pad = getattr(config, "pad_token_id", None)
    if pad is None:
        pad = next(iter(ends), 0)
    return torch.tensor(ends, dtype=torch.int64, device=device), int(pad)


def _list_tokens(tokens: int | Sequence[int] | None) -> list[int]:
    if tokens is None:
        return []
    if isinstance(tokens, int):
        return [tokens]
    return list(tokens)
