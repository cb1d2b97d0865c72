"""Tie rules: how likely a win and a tie are, by the difference of two log strengths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import exp, log1p
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


class TieRule(ABC):
    """A distribution of the outcomes of a game, with one parameter at most, on a scale without bounds."""

    has_parameter: ClassVar[bool] = True
    tie_weight: ClassVar[float]  # wins that a tie counts as, for either player

    @abstractmethod
    def log_chance(
        self,
        margins: Tensor,
        parameter: Tensor,
        is_tie: Tensor,
    ) -> Tensor:
        """Return the log probabilities `(E,)` of wins at margins `(E,)`, or of ties."""

    @abstractmethod
    def measure_surprise(self, margins: Tensor, parameter: Tensor) -> Tensor:
        """Return the derivatives `(E,)` of log probabilities of wins with respect to the margins, all positive."""

    @abstractmethod
    def sum_parameter_flows(
        self, margins: Tensor, parameter: Tensor, *, wins: Tensor, ties: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what speaks for a larger and for a smaller parameter, single numbers.

        Args:
            margins: `(E,)`.
            parameter: a single number.
            wins: `(E,)`, how often the outcome was a win.
            ties: `(E,)`, how often a tie.
        """

    @abstractmethod
    def read_parameter(self, parameter: float) -> float:
        """Return the parameter as the literature has it."""


@final
@dataclass(frozen=True)
class NoTies(TieRule):
    """Bradley and Terry's own model, in which every game is won: `log p = log s(margin)`, s the logistic function."""

    has_parameter = False
    tie_weight = 0.0

    def log_chance(
        self,
        margins: Tensor,
        parameter: Tensor,
        is_tie: Tensor,
    ) -> Tensor:
        return logsigmoid(margins)

    def measure_surprise(self, margins: Tensor, parameter: Tensor) -> Tensor:
        return torch.sigmoid(-margins)

    def sum_parameter_flows(
        self, margins: Tensor, parameter: Tensor, *, wins: Tensor, ties: Tensor
    ) -> tuple[Tensor, Tensor]:
        return margins.new_ones(()), margins.new_ones(())

    def read_parameter(self, parameter: float) -> float:
        return 0.0


@final
@dataclass(frozen=True)
class Davidson(TieRule):
    """Davidson's model (JASA 65, 1970): a tie is `nu` times the geometric mean of the chances of winning.

        p(i wins) = a / (a + b + nu sqrt(a b)),    p(tie) = nu sqrt(a b) / (a + b + nu sqrt(a b))

    for strengths `a` and `b`; the parameter is `log nu`. The likelihood is concave.
    """

    tie_weight = 0.5

    def log_chance(
        self,
        margins: Tensor,
        parameter: Tensor,
        is_tie: Tensor,
    ) -> Tensor:
        utilities = _stack_utilities(margins, parameter)
        return torch.where(is_tie, utilities[2], utilities[0]) - utilities.logsumexp(0)

    def measure_surprise(self, margins: Tensor, parameter: Tensor) -> Tensor:
        utilities = _stack_utilities(margins, parameter)
        chances = utilities.softmax(0)
        return chances[1] + 0.5 * chances[2]

    def sum_parameter_flows(
        self, margins: Tensor, parameter: Tensor, *, wins: Tensor, ties: Tensor
    ) -> tuple[Tensor, Tensor]:
        chance = self.log_chance(
            margins,
            parameter,
            torch.ones_like(margins, dtype=torch.bool),
        ).exp()
        return (ties * (1 - chance)).sum(), (wins * chance).sum()

    def read_parameter(self, parameter: float) -> float:
        return exp(parameter)


def _stack_utilities(margins: Tensor, parameter: Tensor) -> Tensor:
    """Return the log weights `(3, E)` of a win, a loss and a tie in Davidson's model."""
    return torch.stack([margins / 2, -margins / 2, parameter.expand_as(margins)])


@final
@dataclass(frozen=True)
class RaoKupper(TieRule):
    """Rao and Kupper's model (JASA 62, 1967): whoever is not better by a factor `kappa > 1` has drawn.

        p(i wins) = a / (a + kappa b),    p(tie) = (kappa^2 - 1) p(i wins) p(j wins)

    for strengths `a` and `b`; the parameter is `log(kappa^2 - 1)`.
    """

    tie_weight = 1.0

    def log_chance(
        self,
        margins: Tensor,
        parameter: Tensor,
        is_tie: Tensor,
    ) -> Tensor:
        gap = _measure_gap(parameter)
        win, loss = logsigmoid(margins - gap), logsigmoid(-margins - gap)
        return torch.where(is_tie, parameter + win + loss, win)

    def measure_surprise(self, margins: Tensor, parameter: Tensor) -> Tensor:
        gap = _measure_gap(parameter)
        return torch.sigmoid(gap - margins)

    def sum_parameter_flows(
        self, margins: Tensor, parameter: Tensor, *, wins: Tensor, ties: Tensor
    ) -> tuple[Tensor, Tensor]:
        surprise = (wins + ties) * self.measure_surprise(margins, parameter)
        surprise = surprise + ties * self.measure_surprise(-margins, parameter)
        slope = 0.5 * torch.sigmoid(parameter)  # of log kappa
        return ties.sum(), slope * surprise.sum()

    def read_parameter(self, parameter: float) -> float:
        return exp(0.5 * log1p(exp(parameter)))


def _measure_gap(parameter: Tensor) -> Tensor:
    """Return `log kappa` of Rao and Kupper's model."""
    return 0.5 * softplus(parameter)
