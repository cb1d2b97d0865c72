"""Rules of a decoding under which tokens must come in order: known from its parts before the model is called."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.generation import GenerationMode

from forerun.sequence.autoregressive.own_loop import Decoding, ReplicaRefused


def check_rules(decoding: Decoding, count: int) -> None:
    """Refuse a decoding whose tokens do not follow from the tokens before them alone.

    Raises:
        ReplicaRefused: with the reason.
    """
    mode = decoding.config.get_generation_mode()
    if mode is not GenerationMode.GREEDY_SEARCH:
        raise ReplicaRefused(f"model.generation_config asks for {mode.value}")
    if decoding.config.cache_implementation == "quantized":
        raise ReplicaRefused("model.generation_config asks for a quantized cache, which rounds by what it holds")
    for criterion in decoding.criteria:
        if not hasattr(criterion, "eos_token_id") and not hasattr(criterion, "max_length"):
            raise ReplicaRefused(f"{type(criterion).__name__} looks at more than the tokens before")
    for processor in decoding.processors:
        if not _is_pure(processor, decoding):
            raise ReplicaRefused(f"{type(processor).__name__} keeps something between its calls")
    _check_rotation(decoding, count)


def _is_pure(processor: Any, decoding: Decoding) -> bool:
    """Return whether a logits processor keeps nothing from one call to the next."""
    attributes = vars(processor)
    if any(isinstance(value, nn.Module) for value in attributes.values()):
        return False
    vocabulary = decoding.model.config.get_text_config().vocab_size
    scores = torch.zeros(len(decoding.prompts), vocabulary, device=decoding.prompts.device)
    processor(decoding.prompts, scores.clone())  # the first call may prepare what later ones only read
    try:
        before = copy.deepcopy(attributes)
    except (TypeError, RuntimeError):
        return False
    processor(decoding.prompts, scores.clone())
    return all(_is_same(value, attributes.get(name)) for name, value in before.items())


def _is_same(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor):
        return isinstance(other, Tensor) and torch.equal(value, other)
    if isinstance(value, torch.Generator):
        return True  # which is seeded in every call, by the processors that have one
    if hasattr(value, "__dict__"):
        others = vars(other)
        return all(_is_same(leaf, others.get(name)) for name, leaf in vars(value).items())
    return bool(value == other)


def _check_rotation(decoding: Decoding, count: int) -> None:
    """Refuse rotary positions whose frequencies change with the length of a text, where they do in this one."""
    last_length = decoding.length + count
    for kind, switch_length in _list_switches(decoding.model):
        stays_short = last_length <= switch_length
        stays_long = kind == "longrope" and decoding.length > switch_length
        if not stays_short and not stays_long:
            raise ReplicaRefused(
                f"its rotary positions ({kind}) change with the length of the text beyond {switch_length} tokens"
            )


def _list_switches(model: Any) -> Iterator[tuple[str, int]]:
    """Yield each kind of rotary positions that looks at the length of a text, and the length where it changes."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        config = getattr(module, "config", None)
        if not isinstance(kinds, dict):
            kinds = {None: kinds}
        for layer_type, kind in kinds.items():
            if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope"):
                yield kind, _find_switch(config, layer_type)


def _find_switch(config: Any, layer_type: str | None) -> int:
    """Return the length up to which rotary positions are those that the model was first trained with."""
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if layer_type is not None:
        parameters = parameters.get(layer_type, parameters)
    longest = getattr(config, "max_position_embeddings", 0)
    return int(parameters.get("original_max_position_embeddings", longest))
