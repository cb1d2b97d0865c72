"""generate: text of any causal language model of transformers, several tokens a pass."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from torch import Tensor

from forerun.engine.options import SolveKeywords, SolveOptions, ignore_event
from forerun.engine.solution import Solution
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence.autoregressive.choice import Greedy, TokenChoice
from forerun.sequence.autoregressive.own_loop import OwnLoop, ReplicaRefused
from forerun.sequence.autoregressive.text_run import TextRun, replay_tokens
from forerun.sequence.autoregressive.validation import check_model, check_prompt
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

    The loop over tokens inside `model.generate` is replaced: its logits processors, ends of text, mask, positions and
    padding are those that it prepares itself. A token is accepted when all before it are, and its logits came from a
    pass over exactly these. At the end the model is called once on the whole text, and must choose the same tokens.
    Where it does not, or where logits follow from more than the tokens before them, `model.generate` runs as it is,
    with one `WitnessWarning`.

    Logits of passes of different width differ in their last bits; where the two best tokens are as close as that
    (`TextSolution.gap`), either may be chosen, and a note says so.

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
        ValueError: it is in training mode, looks ahead, or its cache cannot be cut; a prompt does not fit.
        WitnessDisagrees: `strict=True`, and several tokens a pass cannot stand for `model.generate`.
    """
    options = SolveOptions.gather(options, keywords).over(TEXT_DEFAULTS)
    check_prompt(input_ids, attention_mask, max_new_tokens)
    check_model(model, input_ids, use_cache=cache)
    loop_keywords = _loop_keywords(max_new_tokens, attention_mask, eos_token_id)
    loop = OwnLoop(model, input_ids, loop_keywords, choice)
    run = TextRun(max_new_tokens, choice, options, use_cache=cache)
    try:
        fields = loop.replace_loop(run.solve_text)
    except ReplicaRefused as refusal:
        fields = _take_own_loop(loop, refusal, input_ids.shape[1], strict=bool(options.strict))
    return TextSolution(**fields)


def _loop_keywords(
    max_new_tokens: int,
    attention_mask: Tensor | None,
    eos_token_id: int | Sequence[int] | None,
) -> dict[str, Any]:
    """Return what `model.generate` is called with, besides the prompts."""
    keywords: dict[str, Any] = {"max_new_tokens": max_new_tokens}
    if attention_mask is not None:
        keywords["attention_mask"] = attention_mask
    if isinstance(eos_token_id, int):
        keywords["eos_token_id"] = eos_token_id
    elif eos_token_id is not None:
        keywords["eos_token_id"] = list(eos_token_id) or None
    return keywords


def _take_own_loop(
    loop: OwnLoop,
    refusal: ReplicaRefused,
    length: int,
    *,
    strict: bool,
) -> dict[str, Any]:
    """Return the solution of the user's own `model.generate`, with one warning that says why it ran.

    Raises:
        WitnessDisagrees: `strict` is set, and more than a tie stands in the way.
    """
    sentence = f"The tokens are those of model.generate, which ran in order: {refusal.reason}."
    if strict and not refusal.is_tie:
        raise WitnessDisagrees(
            f"Several tokens a pass cannot stand for model.generate here: {refusal.reason}; leave strict=True out "
            "for model.generate itself and a warning"
        )
    tokens = loop.generate_tokens()
    if not refusal.is_tie:
        warnings.warn(sentence, WitnessWarning, stacklevel=3)
    solution = replay_tokens(tokens, length)
    solution = replace(solution, notes=(*solution.notes, sentence))
    return {**vars(solution), "tokens": tokens, "gap": 0.0}
