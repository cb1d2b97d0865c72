"""What `generate` asks of a model and its prompts, before it begins."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import DynamicCache

PLAIN: Final[Mapping[str, Any]] = {  # the settings of a generation config that change logits, and where they do not
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
PROBE: Final = 6  # tokens of the sequence that looks whether the model looks ahead


def check_prompt(input_ids: Tensor, mask: Tensor | None, count: int) -> None:
    """Refuse prompts and lengths that cannot be continued."""
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"max_new_tokens={count!r} asks for no token; pass max_new_tokens=32")
    if not isinstance(input_ids, Tensor) or input_ids.dtype != torch.int64 or input_ids.dim() != 2:
        came = (
            f"{input_ids.dtype} {list(input_ids.shape)}" if isinstance(input_ids, Tensor) else type(input_ids).__name__
        )
        raise ValueError(
            f"input_ids came as {came}; pass int64 (N, P), such as tokenizer(text, return_tensors='pt').input_ids"
        )
    if not input_ids.numel():
        raise ValueError(f"input_ids of shape {list(input_ids.shape)} hold no token; begin with the bos token, P >= 1")
    if mask is None:
        return
    if mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask is {list(mask.shape)} for input_ids {list(input_ids.shape)}; pass the tokenizer's own mask"
        )
    if not bool(mask[:, -1].all()) or bool((mask[:, 1:] < mask[:, :-1]).any()):
        raise ValueError(
            "attention_mask has zeros behind a token, so a prompt would go on after a hole; pad on the left: "
            "tokenizer.padding_side = 'left'"
        )


@torch.no_grad()
def check_model(model: Any, input_ids: Tensor, *, cache: bool) -> None:
    """Refuse models that would not give the ordinary loop's tokens."""
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
    if model.training:
        raise ValueError("the model is in training mode, where dropout answers twice differently; call model.eval()")
    _check_config(model)
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    size = int(embedding.num_embeddings)
    if not 0 <= int(input_ids.min()) <= int(input_ids.max()) < size:
        raise ValueError(
            f"input_ids reach from {int(input_ids.min())} to {int(input_ids.max())}, but the model knows tokens 0 .. "
            f"{size - 1}; use the tokenizer of the model"
        )
    _check_causal(model, input_ids, size=size, cache=cache)


def ends_of(model: Any, given: int | Sequence[int] | None, device: torch.device) -> tuple[Tensor, int]:
    """The tokens that end a text, and the one that pads it then."""
    config = getattr(model, "generation_config", None)
    given = getattr(config, "eos_token_id", None) if given is None else given
    ends = [] if given is None else [given] if isinstance(given, int) else list(given)
    pad = getattr(config, "pad_token_id", None)
    pad = (ends[0] if ends else 0) if pad is None else pad
    return torch.tensor(ends, dtype=torch.int64, device=device), int(pad)


def cache_name(model: Any) -> str:
    """What the model calls its cache of keys and values; transformers 5 renamed it."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _check_config(model: Any) -> None:
    config = getattr(model, "generation_config", None)
    for name, plain in PLAIN.items():
        value = getattr(config, name, None)
        if value is not None and value != plain:
            raise ValueError(
                f"model.generation_config.{name} is {value!r}, which generate does not follow; set it to {plain!r}, or "
                "use model.generate"
            )


def _check_causal(model: Any, input_ids: Tensor, *, size: int, cache: bool) -> None:
    """Change the second half of a sequence, and see whether the logits of the first half change."""
    one = torch.arange(PROBE, device=input_ids.device) * 7 % size
    other = torch.where(torch.arange(PROBE, device=one.device) < PROBE // 2, one, (one + 1) % size)
    kept = DynamicCache()
    if cache and not _can_be_cut(model.config):
        raise ValueError(
            f"the cache of {type(model).__name__} cannot be cut where a guess was wrong; pass cache=False to compute "
            "the whole sequence in every pass"
        )
    options = {cache_name(model): kept} if cache else {}
    found = model(input_ids=torch.stack([one, other]), use_cache=cache, **options)
    logits = getattr(found, "logits", None)
    if logits is None or logits.shape[:2] != (2, PROBE):
        raise TypeError(f"{type(model).__name__} returns no logits a token; use a model of AutoModelForCausalLM")
    early = logits[:, : PROBE // 2].float()
    if float((early[0] - early[1]).abs().max()) > 1e-3 * float(early.abs().max()):
        raise ValueError(
            f"{type(model).__name__} looks ahead: logits changed with a later token, so it is no causal model; "
            "use a model of AutoModelForCausalLM (is_decoder=True)"
        )
    if cache and kept.get_seq_length() != PROBE:
        raise ValueError(
            f"{type(model).__name__} did not use the cache that it was given; pass cache=False to compute the whole "
            "sequence in every pass"
        )


def _can_be_cut(config: Any) -> bool:
    """Whether all layers keep keys and values of every token, or of the last ones: no running state."""
    layers = DynamicCache(config=config).layers
    return {type(layer).__name__ for layer in layers} <= {"DynamicLayer", "DynamicSlidingWindowLayer"}
