"""Guesses of how a sequence goes on, before its function is called; and guessing again after every round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from forerun.engine.guesses import Guess, KnownPrefix
from forerun.engine.methods import Evaluate, Method, Picard, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem, RowStates
from forerun.sequence.causal import CausalProcess


class Continuation(Guess, ABC):
    """A guess of the values that a sequence goes on with; for `CausalProcess` alone."""

    @abstractmethod
    def guess_values(self, sequence: Tensor, fallback: Tensor) -> Tensor:
        """Return the next values `(*batch, n)`.

        Args:
            sequence: `(*batch, m)`, all values before them.
            fallback: `(*batch, n)`, what to guess where there is nothing better.
        """

    @final
    def enter(
        self,
        prefix: KnownPrefix,
        stop: int,
        evaluate: Evaluate,
    ) -> tuple[Sequence[Tree], Tensor]:
        """Return rows that go on with what `guess_values` returns; see `Guess`."""
        problem = prefix.problem
        row = problem.observe(prefix.state)
        bounds = _slot_bounds(problem)
        first = bounds[prefix.start]
        last = bounds[stop - 1]
        rows = row.repeat(stop - prefix.start, *[1] * row.dim())
        if first != last:
            previous = row[..., max(first - 1, 0) : max(first, 1)]
            fallback = previous.expand(*row.shape[:-1], last - first)
            values = self.guess_values(row[..., :first], fallback)
            _write_values(rows, bounds[prefix.start : stop], values)
        return RowStates(problem.input_layout, rows), rows


@final
@dataclass(frozen=True)
class Fill(Continuation):
    """The same value everywhere."""

    value: float = 0.0

    def guess_values(self, sequence: Tensor, fallback: Tensor) -> Tensor:
        return torch.full_like(fallback, self.value)


@final
@dataclass(frozen=True)
class Repeat(Continuation):
    """The last `period` values again and again: the last token of a text, or the last row of an image."""

    period: int = 1

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"Repeat({self.period}) repeats nothing; pass a period of 1 or more")

    def guess_values(self, sequence: Tensor, fallback: Tensor) -> Tensor:
        length = sequence.shape[-1]
        if length < self.period:
            return fallback
        places = torch.arange(fallback.shape[-1], device=sequence.device) % self.period
        return sequence[..., length - self.period + places]


@final
@dataclass(frozen=True)
class Lookup(Continuation):
    """What followed the last time that the sequence ended as it ends now: prompt lookup.

    The longest ending of at most `longest` values that stood before decides, and of several places the last one. Where
    more values are needed than followed there, they are repeated from the start, so a loop is guessed to go on.
    """

    longest: int = 3

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ValueError(f"Lookup({self.longest}) compares nothing; pass 1 or more")

    def guess_values(self, sequence: Tensor, fallback: Tensor) -> Tensor:
        samples = sequence.reshape(-1, sequence.shape[-1])
        fallbacks = fallback.reshape(-1, fallback.shape[-1])
        values = []
        for sample, sample_fallback in zip(samples, fallbacks, strict=True):
            values.append(self._look_up(sample, sample_fallback))
        return torch.stack(values).reshape(fallback.shape)

    def _look_up(self, sample: Tensor, fallback: Tensor) -> Tensor:
        """Return the values `(n,)` that go on with one sample `(m,)`."""
        for size in range(min(self.longest, len(sample) - 1), 0, -1):
            ending = sample[-size:]
            earlier = sample[:-1].unfold(0, size, 1)
            matches = (earlier == ending).all(-1).nonzero()
            if len(matches):
                begin = int(matches[-1]) + size
                places = torch.arange(len(fallback), device=sample.device)
                return sample[begin + places % (len(sample) - begin)]
        return fallback


@final
@dataclass(frozen=True)
class Reguess(Method):
    """A method whose unsettled steps are guessed again in every round, from what is settled by then.

    Where the guess has nothing better to offer, the path of the method is kept. With `Lookup` this is prompt lookup
    decoding that falls back on Jacobi's iteration. It changes what is evaluated next, and never the answer.
    """

    guess: Continuation
    method: Method = Picard()

    def iterate(
        self,
        window_state: WindowState,
        evaluate: Evaluate,
    ) -> WindowUpdate:
        update = self.method.iterate(window_state, evaluate)
        width = len(update.moves)
        settled = _count_settled(update.moves)
        start = window_state.start
        bounds = _slot_bounds(window_state.problem)[start + settled : start + width + 1]
        if len(bounds) < 2:
            return update
        newest = update.inputs[-1]
        sequence = newest[..., : bounds[0]]
        fallback = newest[..., bounds[0] : bounds[-1]]
        guesses = update.inputs.clone()
        _write_values(
            guesses[settled:],
            bounds,
            self.guess.guess_values(sequence, fallback),
        )
        return replace(update, guesses=guesses)

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)


def _count_settled(moves: Tensor) -> int:
    """Return how many leading steps of a window did not move, from the moves `(W, *batch, D)`."""
    is_settled = (moves == 0).flatten(1).all(1)
    for index, settled in enumerate(is_settled.tolist()):
        if not settled:
            return index
    return len(moves)


def _slot_bounds(problem: Problem) -> list[int]:
    """Return the bounds of the slots of a `CausalProcess`; refuse any other process."""
    process = problem.process
    if not isinstance(process, CausalProcess):
        raise TypeError(
            f"a Continuation guesses the values of a CausalProcess, not of {type(process).__name__}; "
            "write guess=forerun.Hold()"
        )
    bounds: list[int] = process.function.bounds.tolist()
    return bounds


def _write_values(rows: Tensor, bounds: Sequence[int], values: Tensor) -> None:
    """Write into row `k` the values up to `bounds[k]`, from `bounds[0]` on."""
    first = bounds[0]
    for row, bound in zip(rows, bounds, strict=True):
        row[..., first:bound] = values[..., : bound - first]
