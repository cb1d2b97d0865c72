"""generate: text of any causal language model of transformers, several tokens a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.event import RoundEvent
from forerun.engine.guesses import Guess
from forerun.engine.methods import Method
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import Absolute
from forerun.engine.windows import Sliding, Window
from forerun.sequence.autoregressive.choice import Greedy, TokenChoice
from forerun.sequence.autoregressive.tokens import Cache, TokenFunction
from forerun.sequence.autoregressive.validation import check_model, check_prompt, ends_of
from forerun.sequence.causal import CausalProcess
from forerun.sequence.guess import Lookup, Reguess


@dataclass(frozen=True)
class TextSolution:
    """Tokens, and the run that found them.

    Attributes:
        tokens: int64 `(N, P + new)`, the prompts and what follows, padded after the end of a text.
        solution: rounds are passes of the model; evaluations are tokens that it computed in them, the prompt left out.
        gap: the smallest lead of a taken token over the next best, in logits (with the noise of `Gumbel`). Passes of
            different width round differently; where the gap is not far above that, another width may take the other.
    """

    tokens: Tensor
    solution: Solution
    gap: float


def generate(
    model: Any,
    input_ids: Tensor,
    *,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    choice: TokenChoice = Greedy(),
    window: int | Window = 8,
    guess: Guess = Lookup(),
    method: Method = Reguess(Lookup()),
    eos_token_id: int | Sequence[int] | None = None,
    cache: bool = True,
) -> TextSolution:
    """What `model.generate(input_ids, do_sample=False)` gives, or a seeded sample, in fewer passes of the model.

    A token is accepted when all before it are, and its logits came from a pass over exactly these. So the tokens are
    those of the ordinary loop, whatever the guess; but logits of passes of different width differ in their last bits,
    and where the two best tokens are as close as that (`TextSolution.gap`), either may be taken. float64 makes
    that rare.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        input_ids: int64 `(N, P)`, prompts of one length, or padded on the left with an `attention_mask`.
        max_new_tokens: at most so many; fewer where all texts end.
        attention_mask: `(N, P)`, zero on the padding.
        choice: `Greedy()`, or `Gumbel(seed)` to sample.
        window: tokens of a pass; a number, or a `Window`.
        guess: what is guessed for a token when it enters the window.
        method: how a pass becomes the next guess; `Picard()` keeps the path of the pass before (Jacobi decoding),
            `Reguess(Lookup())` looks up again in the prompt and in what is settled (prompt lookup decoding).
        eos_token_id: ends a text; None for those of `model.generation_config`, `()` for none.
        cache: keep keys and values. False for models whose cache cannot be cut.

    Returns:
        `TextSolution`. A batch advances with its slowest text.

    Raises:
        TypeError: the model is an encoder-decoder, or no causal language model of transformers.
        ValueError: it is in training mode, looks ahead, or its cache cannot be cut; a prompt does not fit; its
            generation config asks for what is not supported (beams, penalties, forced or forbidden tokens).
    """
    check_prompt(input_ids, attention_mask, max_new_tokens)
    check_model(model, input_ids, cache=cache)
    ends, pad = ends_of(model, eos_token_id, input_ids.device)
    count, length = max_new_tokens, input_ids.shape[1]
    padded = attention_mask is not None and not bool(attention_mask.all())
    tokens = TokenFunction(
        Cache(model, attention_mask if padded else None, kept=cache), length, count, choice=choice, ends=ends, pad=pad
    )

    def over(event: RoundEvent) -> bool:
        written = event.state[:, length : length + event.step]
        return bool(torch.isin(written, ends).any(-1).all())

    solution = solve(
        CausalProcess(tokens), torch.nn.functional.pad(input_ids, (0, count)), method=method,
        window=Sliding(window) if isinstance(window, int) else window, guess=guess, tolerance=Absolute(0.0),
        check=False, callback=over,
    )  # fmt: skip
    written = solution.state[:, length : length + solution.step]
    last = _last(torch.isin(written, ends))
    gap = min((tokens.gaps[step] for step in range(last)), default=float("inf"))
    return TextSolution(solution.state[:, : length + last], solution, gap)


def _last(ended: Tensor) -> int:
    """How many new tokens there are until the last text has ended."""
    count = ended.shape[1]
    ends = torch.where(ended.any(-1), ended.int().argmax(-1) + 1, count)
    return int(ends.max())
