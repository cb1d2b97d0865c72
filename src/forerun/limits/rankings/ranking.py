"""Ranking: strengths of players, what they predict, and how they were found."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from forerun.engine.search import Limit
from forerun.limits.rankings.player_names import Labels
from forerun.limits.rankings.tie_rules import NoTies, TieRule


@dataclass(frozen=True)
class Ranking:
    """Strengths of players.

    Attributes:
        log_strengths: float64 `(P,)`, of mean zero, or relative to the prior's player.
        limit: how they were found, and what is known of their error.
        names: of the players, in order.
        groups: of players that no chain of games joins; strengths of different groups are compared by the prior alone.
        home_advantage: what being at home adds to a log strength; 0 where it was not estimated.
        ties: the rule of ties.
        tie_parameter: on the scale of the rule; `tie_strength` is the literature's.
    """

    log_strengths: Tensor
    limit: Limit
    names: Labels
    groups: int = 1
    home_advantage: float = 0.0
    ties: TieRule = field(default_factory=NoTies)
    tie_parameter: float = 0.0

    @property
    def value(self) -> Tensor:
        """The log strengths."""
        return self.log_strengths

    @property
    def order(self) -> list[int]:
        """The numbers of the players, the strongest first."""
        return self.log_strengths.argsort(descending=True).tolist()

    @property
    def ranked_names(self) -> list[Hashable]:
        """The names of the players, the strongest first."""
        return [self.names[player] for player in self.order]

    @property
    def tie_strength(self) -> float:
        """The tie parameter as the literature has it: Davidson's `nu`, Rao and Kupper's `kappa`."""
        return self.ties.read_parameter(self.tie_parameter)

    def predict_win(
        self,
        player: int,
        opponent: int,
        *,
        venue: int = 0,
    ) -> float:
        """Return the probability that a player beats another.

        Args:
            player: number of the one.
            opponent: number of the other.
            venue: 1 where the player is at home, -1 where the opponent is.
        """
        return self._predict_outcome(player, opponent, venue, False)

    def predict_tie(
        self,
        player: int,
        opponent: int,
        *,
        venue: int = 0,
    ) -> float:
        """Return the probability that two players draw; 0 where ties were left out of the model."""
        return self._predict_outcome(player, opponent, venue, True) if self.ties.has_parameter else 0.0

    def as_columns(self) -> dict[str, list[Any]]:
        """Return the ranking as columns, the strongest first: `pandas.DataFrame(ranking.as_columns())`."""
        log_strengths = self.log_strengths[self.order]
        return {
            "rank": list(range(1, len(log_strengths) + 1)),
            "player": self.ranked_names,
            "log_strength": log_strengths.tolist(),
            "strength": log_strengths.exp().tolist(),
        }

    def _predict_outcome(
        self,
        player: int,
        opponent: int,
        venue: int,
        is_tie: bool,
    ) -> float:
        margin = self.log_strengths[player] - self.log_strengths[opponent] + venue * self.home_advantage
        parameter = margin.new_tensor(self.tie_parameter)
        chance = self.ties.log_chance(
            margin.reshape(1),
            parameter,
            torch.tensor([is_tie]),
        )
        return float(chance.exp())
