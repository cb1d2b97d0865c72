"""The run that finds the tokens of a text, in place of the loop over tokens of `model.generate`."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.event import RoundEvent
from forerun.engine.methods import Sequential
from forerun.engine.options import Callback, SolveOptions, ignore_event
from forerun.engine.rounds import Round
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.windows import Window
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence.autoregressive.choice import TokenChoice
from forerun.sequence.autoregressive.decoding_rules import check_rules
from forerun.sequence.autoregressive.own_loop import Decoding
from forerun.sequence.autoregressive.preflight import Preflight
from forerun.sequence.autoregressive.text_witness import (
    AGREED_TEXTS,
    describe_tie,
    name_configuration,
    witness_tokens,
)
from forerun.sequence.autoregressive.token_cache import TokenCache
from forerun.sequence.autoregressive.tokens import TokenFunction, find_ended
from forerun.sequence.autoregressive.validation import count_vocabulary
from forerun.sequence.causal import CausalFunction, CausalProcess

HALF_PRECISION = frozenset({torch.float16, torch.bfloat16})

UNWITNESSED_TEXT = "The model was not called on the whole text as a witness (witness=False)."


@final
class TextRun:
    """How the tokens of a text are found.

    Args:
        count: new tokens at most.
        choice: how a token follows from its scores.
        options: how to solve.
        use_cache: whether keys and values are kept.
    """

    def __init__(
        self,
        count: int,
        choice: TokenChoice,
        options: SolveOptions,
        *,
        use_cache: bool,
    ) -> None:
        self._count = count
        self._choice = choice
        self._options = options
        self._settings = options.settled()
        self._use_cache = use_cache

    def solve_text(self, decoding: Decoding) -> dict[str, Any]:
        """Return the fields of a `TextSolution`.

        Raises:
            ReplicaRefused: several tokens a pass cannot stand for the loop of `model.generate`.
        """
        use_cache = self._use_cache and decoding.keywords.get("use_cache") is not False
        key = name_configuration(decoding, self._count, use_cache=use_cache)
        max_positions = getattr(decoding.model.config.get_text_config(), "max_position_embeddings", None)
        check_rules(decoding, self._count)
        self._check_model(decoding, key, max_positions, use_cache=use_cache)
        token_cache = TokenCache(decoding, use_cache=use_cache)
        function = TokenFunction(
            decoding,
            token_cache,
            self._count,
            choice=self._choice,
        )
        solution = solve(
            CausalProcess(function),
            torch.nn.functional.pad(decoding.prompts, (0, self._count)),
            options=self._bound_options(decoding, max_positions),
        )
        tokens = _cut_after_ends(solution, decoding)
        gap = min(
            (function.gaps[step] for step in range(tokens.shape[1] - decoding.length)),
            default=float("inf"),
        )
        solution = self._witness_text(solution, decoding, tokens, key=key, token_cache=token_cache)
        if any(entry.width > 1 for entry in solution.log):
            tie = describe_tie(gap, function.largest_logit, _logit_dtype(decoding))
            solution = self._report_tie(solution, tie)
        return {**vars(solution), "tokens": tokens, "gap": gap}

    def _report_tie(self, solution: Solution, tie: str | None) -> Solution:
        """Return the solution with a note of a tie, and say it aloud; raise where `strict` is set."""
        if tie is None:
            return solution
        if self._settings.strict:
            raise WitnessDisagrees(tie)
        warnings.warn(tie, WitnessWarning, stacklevel=2)
        return replace(solution, notes=(*solution.notes, tie))

    def _check_model(
        self,
        decoding: Decoding,
        key: Hashable,
        max_positions: int | None,
        *,
        use_cache: bool,
    ) -> None:
        """Try the model in short passes, where its kind has not been witnessed before."""
        if key in AGREED_TEXTS:
            return
        last_position = decoding.length + self._count
        if max_positions is not None:
            last_position = min(last_position, max_positions)
        preflight = Preflight(decoding, vocabulary=count_vocabulary(decoding.model), use_cache=use_cache)
        preflight.check_model(last_position - 1)

    def _bound_options(self, decoding: Decoding, max_positions: int | None) -> SolveOptions:
        """Return the options with a window that ends with the positions, and a callback that ends with the texts."""
        settings = self._settings
        window = settings.window
        if max_positions is not None:
            window = BeforeBound(window, max(0, max_positions - decoding.length + 1))
        callback = _stop_at_ends(settings.callback, decoding)
        return replace(self._options, window=window, callback=callback)

    def _witness_text(
        self,
        solution: Solution,
        decoding: Decoding,
        tokens: Tensor,
        *,
        key: Hashable,
        token_cache: TokenCache,
    ) -> Solution:
        """Return the solution after the model itself was called on the whole text."""
        witness = self._settings.witness
        if witness is None:
            return replace(solution, notes=(*solution.notes, UNWITNESSED_TEXT))
        if tokens.shape[1] == decoding.length:
            return solution
        known_cache = token_cache if key in AGREED_TEXTS else None
        try:
            count = witness_tokens(
                decoding,
                tokens,
                choice=self._choice,
                witness=witness,
                known_cache=known_cache,
            )
        except Exception:
            AGREED_TEXTS.forget(key)
            raise
        AGREED_TEXTS.remember(key)
        return replace(solution, witnessed=count)


@final
@dataclass(frozen=True)
class BeforeBound(Window):
    """Another window that ends with step `bound`; from there on one step a round.

    A model with a table of positions fails where a pass reaches beyond it, though the text may end before.
    """

    window: Window
    bound: int

    def width(self, log: Sequence[Round], length: int) -> int:
        start = 0
        if log:
            start = log[-1].start + log[-1].accepted
        return min(self.window.width(log, length), max(1, self.bound - start))

    def note(self, log: Sequence[Round], length: int) -> str | None:
        return self.window.note(log, length)

    def declines(self, length: int) -> str | None:
        return self.window.declines(length)


@final
class RecordedTokens(CausalFunction):
    """Tokens that are there already: `(N, L)`, from the prompt's length on."""

    def __init__(self, tokens: Tensor, length: int) -> None:
        self.bounds = torch.arange(length, tokens.shape[1] + 1)
        self._new_tokens = tokens[:, length:]

    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        return self._new_tokens[:, steps]


def replay_tokens(tokens: Tensor, length: int) -> Solution:
    """Return the solution of a loop that made these tokens one after another, after prompts of `length`."""
    process = CausalProcess(RecordedTokens(tokens, length))
    start = torch.nn.functional.pad(tokens[:, :length], (0, process.length))
    return solve(
        process,
        start,
        method=Sequential(),
        window=1,
        tolerance=0.0,
        check=False,
    )


def _stop_at_ends(callback: Callback, decoding: Decoding) -> Callback:
    """Return a callback that also stops the run when all texts have ended."""
    ends = decoding.ends
    if callback is ignore_event and not len(ends):
        return callback

    def stop(event: RoundEvent) -> bool:
        answer = callback(event)
        new_tokens = event.state[:, decoding.length : decoding.length + event.step]
        has_ended = find_ended(new_tokens, ends)[:, -1]
        return bool(answer) or bool(has_ended.all())

    return stop


def _cut_after_ends(solution: Solution, decoding: Decoding) -> Tensor:
    """Return the accepted tokens until the last text has ended."""
    last = decoding.length + solution.step
    has_ended = find_ended(solution.state[:, decoding.length : last], decoding.ends)
    count = int((~has_ended.all(0)).sum())  # of the places before which a text goes on, the last included
    tokens: Tensor = solution.state[:, : decoding.length + min(count, solution.step)]
    return tokens


def _logit_dtype(decoding: Decoding) -> torch.dtype:
    """Return the dtype that logits are computed in, before they become float32."""
    dtype = decoding.model.dtype
    return dtype if dtype in HALF_PRECISION else torch.float32
