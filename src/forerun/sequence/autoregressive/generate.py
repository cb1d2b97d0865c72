"""generate: text of any causal language model of transformers, several tokens a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor

from forerun.engine.event import RoundEvent
from forerun.engine.options import Callback, SolveKeywords, SolveOptions, ignore_event
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.sequence.autoregressive.choice import Greedy, TokenChoice
from forerun.sequence.autoregressive.token_cache import TokenCache
from forerun.sequence.autoregressive.tokens import TokenFunction
from forerun.sequence.autoregressive.validation import check_model, check_prompt, find_ends
from forerun.sequence.causal import CausalProcess
from forerun.sequence.guess import Lookup, Reguess

TEXT_DEFAULTS = SolveOptions(
    method=Reguess(Lookup()),
    window=8,
    tolerance=0.0,
    check=False,
    guess=Lookup(),
    callback=ignore_event,
)


@dataclass(frozen=True, kw_only=True)
class TextSolution(Solution):
    """Tokens, and the run that found them.

    Rounds are passes of the model; evaluations are tokens that it computed in them, the prompt left out.

    Attributes:
        tokens: int64 `(N, P + new)`, the prompts and what follows, padded after the end of a text.
        gap: the smallest lead of a chosen token over the next best, in logits (with the noise of `Gumbel`). Passes of
            different width round differently; where the gap is not far above that, another width may choose the other.
    """

    tokens: Tensor
    gap: float

    @property
    def value(self) -> Tensor:
        """The tokens."""
        return self.tokens


def generate(
    model: Any,
    input_ids: Tensor,
    *,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    choice: TokenChoice = Greedy(),
    eos_token_id: int | Sequence[int] | None = None,
    cache: bool = True,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> TextSolution:
    """Return what `model.generate(input_ids, do_sample=False)` gives, or a seeded sample, in fewer passes of the model.

    A token is accepted when all before it are, and its logits came from a pass over exactly these. So the tokens are
    those of the ordinary loop, whatever the guess; but logits of passes of different width differ in their last bits,
    and where the two best tokens are as close as that (`TextSolution.gap`), either may be chosen. float64 makes that
    rare.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        input_ids: int64 `(N, P)`, prompts of one length, or padded on the left with an `attention_mask`.
        max_new_tokens: at most so many; fewer where all texts end.
        attention_mask: `(N, P)`, zero on the padding.
        choice: `Greedy()`, or `Gumbel(seed)` to sample.
        eos_token_id: ends a text; None for those of `model.generation_config`, `()` for none.
        cache: keep keys and values. False for models whose cache cannot be cut.
        options: how to solve, as one object.
        keywords: the options one by one, as for `forerun.solve`. `window`, by default 8, is the tokens of a pass;
            `guess`, by default `Lookup()`, what is guessed for a token when it enters the window; `method` how a pass
            becomes the next guess: `Picard()` keeps the path of the pass before (Jacobi decoding),
            `Reguess(Lookup())`, the default, looks up again in the prompt and in what is settled (prompt lookup
            decoding).

    Returns:
        `TextSolution`. A batch advances with its slowest text.

    Raises:
        TypeError: the model is an encoder-decoder, or no causal language model of transformers.
        ValueError: it is in training mode, looks ahead, or its cache cannot be cut; a prompt does not fit; its
            generation config asks for what is not supported (beams, penalties, forced or forbidden tokens).
    """
    options = SolveOptions.gather(options, keywords).over(TEXT_DEFAULTS)
    check_prompt(input_ids, attention_mask, max_new_tokens)
    check_model(model, input_ids, use_cache=cache)
    ends, pad = find_ends(model, eos_token_id, input_ids.device)
    length = input_ids.shape[1]
    function = TokenFunction(
        TokenCache(model, _padding_mask(attention_mask), use_cache=cache),
        length,
        max_new_tokens,
        choice=choice,
        ends=ends,
        pad=pad,
    )
    callback = options.callback or ignore_event
    options = replace(options, callback=_stop_at_ends(callback, length, ends))
    start = torch.nn.functional.pad(input_ids, (0, max_new_tokens))
    solution = solve(CausalProcess(function), start, options=options)
    new_tokens = solution.state[:, length : length + solution.step]
    count = _count_until_end(torch.isin(new_tokens, ends))
    return TextSolution(
        **vars(solution),
        tokens=solution.state[:, : length + count],
        gap=min((function.gaps[step] for step in range(count)), default=float("inf")),
    )


def _padding_mask(attention_mask: Tensor | None) -> Tensor | None:
    """Return the mask where it masks anything, else None."""
    if attention_mask is None or bool(attention_mask.all()):
        return None
    return attention_mask


def _stop_at_ends(callback: Callback, length: int, ends: Tensor) -> Callback:
    """Return a callback that also stops the run when all texts have ended, after a prompt of `length` tokens."""

    def stop(event: RoundEvent) -> bool:
        answer = callback(event)
        new_tokens = event.state[:, length : length + event.step]
        have_ended = torch.isin(new_tokens, ends).any(-1)
        return bool(answer) or bool(have_ended.all())

    return stop


def _count_until_end(is_end: Tensor) -> int:
    """Return how many new tokens there are until the last text has ended, from `(N, new)`."""
    if not is_end.shape[1]:
        return 0
    first_end = is_end.int().argmax(-1)
    counts = torch.where(is_end.any(-1), first_end + 1, is_end.shape[1])
    return int(counts.max())
