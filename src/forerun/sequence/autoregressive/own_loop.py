"""The user's own `model.generate`: the loop that runs where ours cannot stand for it, and whose rules ours follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList

from forerun.sequence.autoregressive.choice import Greedy, TokenChoice

CACHE_NAMES: Final = ("cache", "past_key_values")  # transformers 5 renamed it


class ReplicaRefused(Exception):
    """Says why several tokens a pass cannot stand for `model.generate`; caught at the front door.

    Args:
        reason: a clause.
        is_tie: whether there is nothing wrong but two tokens that rounding alone decides between.
    """

    def __init__(self, reason: str, *, is_tie: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_tie = is_tie


class DecodingModel(Protocol):
    """What is called of a model of transformers, as its own `generate` calls it."""

    config: Any
    dtype: torch.dtype
    forward: Callable[..., Any]

    def __call__(self, **inputs: Any) -> Any: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def parameters(self) -> Iterator[Tensor]: ...

    def prepare_inputs_for_generation(self, input_ids: Tensor, **keywords: Any) -> dict[str, Any]: ...

    def _update_model_kwargs_for_generation(self, outputs: Any, keywords: Any, **options: Any) -> dict[str, Any]: ...


@final
@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What `model.generate` has prepared when its loop over tokens begins: the model, the prompts and all its rules.

    Attributes:
        model: what the loop calls; not always what `generate` was called on, as wrappers hand on to it.
        prompts: int64 `(N, P)`.
        processors: change the scores of a token, given all before it.
        criteria: end a text.
        config: the generation config, complete.
        keywords: what the model is called with besides: the mask, positions, whether to keep a cache.
    """

    model: DecodingModel
    prompts: Tensor
    processors: LogitsProcessorList
    criteria: Any
    config: Any
    keywords: Mapping[str, Any]

    @property
    def length(self) -> int:
        """Tokens of a prompt."""
        return self.prompts.shape[1]

    @property
    def cache_name(self) -> str:
        """What the model calls its cache of keys and values."""
        for name in CACHE_NAMES:
            if self.keywords.get(name) is not None:
                return name
        return CACHE_NAMES[0]

    @property
    def ends(self) -> Tensor:
        """The tokens that end a text, int64 `(K,)`; may be empty."""
        for criterion in self.criteria:
            tokens = getattr(criterion, "eos_token_id", None)
            if tokens is not None:
                return torch.as_tensor(tokens, device=self.prompts.device).reshape(-1)
        return torch.tensor([], dtype=torch.int64, device=self.prompts.device)

    @property
    def pad(self) -> int:
        """The token that follows after the end of a text."""
        token = getattr(self.config, "_pad_token_tensor", None)
        return 0 if token is None else int(token)

    def prepare_pass(
        self,
        tokens: Tensor,
        begin: int,
        *,
        count: int,
        cache: Any,
    ) -> dict[str, Any]:
        """Return what the model's own `generate` would call it with, for the tokens from `begin` on.

        Args:
            tokens: int64 `(N, L)`, the prompts and what follows.
            begin: how many of them the cache holds.
            count: of how many of the last tokens logits are wanted.
            cache: keys and values of the first tokens; None computes without.

        Raises:
            ReplicaRefused: the model would be called with something else than these tokens and this cache.
        """
        keywords = dict(self.keywords)
        keywords.pop(self.cache_name, None)
        keywords["use_cache"] = cache is not None
        if "logits_to_keep" in keywords:
            keywords["logits_to_keep"] = count
        new_tokens = tokens.shape[1] - self.length
        if new_tokens:
            keywords = self.model._update_model_kwargs_for_generation(
                {}, keywords, is_encoder_decoder=False, num_new_tokens=new_tokens
            )
        next_length = None
        if cache is not None:
            keywords[self.cache_name] = cache
            next_length = tokens.shape[1] - begin
        inputs = self.model.prepare_inputs_for_generation(
            tokens, next_sequence_length=next_length, is_first_iteration=begin == 0, **keywords
        )
        self._check_inputs(inputs, tokens[:, begin:], cache)
        return inputs

    def _check_inputs(self, inputs: Mapping[str, Any], tokens: Tensor, cache: Any) -> None:
        """Refuse inputs of a model that are not the tokens and the cache that a pass is for."""
        input_ids = inputs.get("input_ids")
        if inputs.get("inputs_embeds") is not None or input_ids is None or input_ids.shape != tokens.shape:
            raise ReplicaRefused("prepare_inputs_for_generation gives the model something else than the tokens alone")
        if inputs.get(self.cache_name) is not cache:
            raise ReplicaRefused("prepare_inputs_for_generation drops or replaces the cache at this length")


@final
class OwnLoop:
    """The user's own call of `model.generate`.

    Args:
        model: whatever has `generate`: a model of transformers, or what wraps one.
        input_ids: int64 `(N, P)`.
        keywords: of `model.generate`.
        choice: how a token follows from its scores.
    """

    def __init__(
        self,
        model: Any,
        input_ids: Tensor,
        keywords: Mapping[str, Any],
        choice: TokenChoice,
    ) -> None:
        self._model = model
        self._input_ids = input_ids
        self._keywords = {**keywords, "do_sample": False, "return_dict_in_generate": False}
        self._choice = choice

    def generate_tokens(self) -> Tensor:
        """Return the tokens of `model.generate`, int64 `(N, L)`; those of the choice where it is not `Greedy`."""
        keywords = dict(self._keywords)
        if not isinstance(self._choice, Greedy):
            processor = ChoiceProcessor(self._choice, self._input_ids.shape[1])
            keywords["logits_processor"] = LogitsProcessorList([processor])
        tokens: Tensor = self._model.generate(input_ids=self._input_ids, **keywords)
        return tokens

    def replace_loop(self, run: Callable[[Decoding], Any]) -> Any:
        """Return what `run` makes of the decoding that `model.generate` prepares, in place of its loop over tokens."""
        results: list[Any] = []

        def decode(model: Any, input_ids: Tensor, **prepared: Any) -> Tensor:
            processors = prepared.pop("logits_processor")
            criteria = prepared.pop("stopping_criteria")
            config = prepared.pop("generation_config")
            decoding = Decoding(
                model=model,
                prompts=input_ids,
                processors=processors,
                criteria=criteria,
                config=config,
                keywords=prepared,
            )
            results.append(run(decoding))
            return input_ids

        self._model.generate(input_ids=self._input_ids, custom_generate=decode, **self._keywords)
        if not results:
            raise ReplicaRefused("its generate does not hand its loop over tokens to custom_generate")
        return results[0]


@final
class ChoiceProcessor(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """A choice of tokens as the last logits processor of `model.generate`."""

    def __init__(self, choice: TokenChoice, length: int) -> None:
        self._choice = choice
        self._length = length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = torch.tensor([input_ids.shape[1] - self._length], device=scores.device)
        return self._choice.score_tokens(scores.unsqueeze(1), step).squeeze(1)
