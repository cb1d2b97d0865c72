"""Validation of what `generate` takes: prompts and models, before it begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

CROPPABLE_LAYERS = {"DynamicLayer", "DynamicSlidingWindowLayer"}


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


def check_model(model: Any, input_ids: Tensor, *, use_cache: bool) -> None:
    """Refuse models that would not give the ordinary loop's tokens."""
    _check_kind(model)
    if model.training:
        raise ValueError("the model is in training mode, where dropout answers twice differently; call model.eval()")
    _check_vocabulary(input_ids, count_vocabulary(model))
    if use_cache and not _can_be_cropped(model.config):
        raise ValueError(
            f"the cache of {type(model).__name__} cannot be cut where a guess was wrong; pass cache=False to compute "
            "the whole sequence in every pass"
        )


def count_vocabulary(model: Any) -> int:
    """Return how many tokens a model takes."""
    embedding: Any = model.get_input_embeddings()
    return int(embedding.num_embeddings)


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
    layers = DynamicCache(config=config.get_text_config(decoder=True)).layers
    return {type(layer).__name__ for layer in layers} <= CROPPABLE_LAYERS
