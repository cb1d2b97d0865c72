"""How a sequence goes on, before its function is asked; and asking again after every round."""

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
    def proceed(self, known: Tensor, otherwise: Tensor) -> Tensor:
        """The next values `(*batch, n)`.

        Args:
            known: `(*batch, m)`, all values before them.
            otherwise: `(*batch, n)`, what to say where there is nothing better.
        """

    @final
    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        """The rows that `proceed` makes; see `Guess`."""
        row, bounds = edge.problem.observe(edge.state), _bounds(edge.problem)
        first, last = bounds[edge.start], bounds[stop - 1]
        rows = row.repeat(stop - edge.start, *[1] * row.dim())
        if first == last:
            return RowStates(edge.problem.input_layout, rows), rows
        repeated = row[..., max(first - 1, 0) : max(first, 1)].expand(*row.shape[:-1], last - first)
        _write(rows, bounds[edge.start : stop], self.proceed(row[..., :first], repeated))
        return RowStates(edge.problem.input_layout, rows), rows


@final
@dataclass(frozen=True)
class Fill(Continuation):
    """The same value everywhere."""

    value: float = 0.0

    def proceed(self, known: Tensor, otherwise: Tensor) -> Tensor:
        return torch.full_like(otherwise, self.value)


@final
@dataclass(frozen=True)
class Repeat(Continuation):
    """The last `period` values again and again: the last token of a text, or the last row of an image."""

    period: int = 1

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"Repeat({self.period}) repeats nothing; pass a period of 1 or more")

    def proceed(self, known: Tensor, otherwise: Tensor) -> Tensor:
        if known.shape[-1] < self.period:
            return otherwise
        places = torch.arange(otherwise.shape[-1], device=known.device) % self.period
        return known[..., known.shape[-1] - self.period + places]


@final
@dataclass(frozen=True)
class Lookup(Continuation):
    """What followed the last time that the sequence ended as it ends now: prompt lookup.

    The longest ending of at most `longest` values that stood before decides, and of several places the last one. Values
    beyond what is known repeat what was found from there on, so a loop is guessed to go on.
    """

    longest: int = 3

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ValueError(f"Lookup({self.longest}) compares nothing; pass 1 or more")

    def proceed(self, known: Tensor, otherwise: Tensor) -> Tensor:
        flat, fallback = known.reshape(-1, known.shape[-1]), otherwise.reshape(-1, otherwise.shape[-1])
        pairs = zip(flat, fallback, strict=True)
        return torch.stack([self._one(*pair) for pair in pairs]).reshape(otherwise.shape)

    def _one(self, known: Tensor, otherwise: Tensor) -> Tensor:
        for size in range(min(self.longest, len(known) - 1), 0, -1):
            same = (known[:-1].unfold(0, size, 1) == known[-size:]).all(-1).nonzero()
            if len(same):
                begin = int(same[-1]) + size
                places = torch.arange(len(otherwise), device=known.device) % (len(known) - begin)
                return known[begin + places]
        return otherwise


@final
@dataclass(frozen=True)
class Reguess(Method):
    """A method whose unsettled steps are guessed anew in every round, from what is settled by then.

    Where the guess has nothing better to say, the path of the method is kept. With `Lookup` this is prompt lookup
    decoding that falls back on Jacobi's iteration. It changes what is evaluated next, and never the answer.
    """

    guess: Continuation
    method: Method = Picard()

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        found = self.method.iterate(front, evaluate)
        still = (found.moves == 0).flatten(1).all(1).tolist()
        count = next((k for k, same in enumerate(still) if not same), len(still))
        bounds = _bounds(front.problem)[front.start + count : front.start + len(still) + 1]
        if len(bounds) < 2:
            return found
        newest = found.inputs[-1]
        values = self.guess.proceed(newest[..., : bounds[0]], newest[..., bounds[0] : bounds[-1]])
        guesses = found.inputs.clone()
        _write(guesses[count:], bounds, values)
        return replace(found, guesses=guesses)

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)


def _bounds(problem: Problem) -> list[int]:
    if not isinstance(problem.process, CausalProcess):
        raise TypeError(
            f"a Continuation guesses the values of a CausalProcess, not of {type(problem.process).__name__}; "
            "write guess=forerun.Hold()"
        )
    bounds: list[int] = problem.process.filler.bounds.tolist()
    return bounds


def _write(rows: Tensor, bounds: Sequence[int], values: Tensor) -> None:
    """Let row `k` know the values up to `bounds[k]`, from `bounds[0]` on."""
    for row, bound in zip(rows, bounds, strict=True):
        row[..., bounds[0] : bound] = values[..., : bound - bounds[0]]
