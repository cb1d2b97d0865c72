"""PlackettLuce: strengths from finishing orders of more than two players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack, final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.rankings.bradley_terry import RANKING_TOLERANCE, refuse_unreached
from forerun.limits.rankings.game_record import GameRecord
from forerun.limits.rankings.player_names import Labels, Players, list_column, name_players, number_players
from forerun.limits.rankings.ranking import Ranking


@dataclass(frozen=True)
class FinishingOrders:
    """Finishing orders of races, complete or of some players only.

    Attributes:
        places: int64 `(R, K)`: who came first, second, ...; -1 after the last.
        names: of the players.
    """

    places: Tensor
    names: Labels

    @classmethod
    def from_lists(cls, orders: Sequence[Sequence[Any]], players: Players = None) -> FinishingOrders:
        """Return the orders of lists, the first player of each the best.

        Args:
            orders: of each race; numbers or names.
            players: how many there are, where players are numbered from 0; or their names. Left out, those that occur.

        Raises:
            ValueError: there is no order, one has a player twice or a single one, or names a player that there is not.
        """
        races = list(map(list_column, orders))
        for race in races:
            if len(race) < 2 or len(set(race)) != len(race):
                raise ValueError(f"the order {race} must have two players or more, nobody twice; leave it out")
        if not races:
            raise ValueError("there are no orders; pass a list of lists, the best first: [[2, 0, 1], [0, 1]]")
        names = name_players(races, players)
        width = max(map(len, races))
        rows = []
        for race in races:
            rows.append([*number_players(race, names), *[-1] * (width - len(race))])
        return cls(torch.tensor(rows), names)

    @property
    def players(self) -> int:
        """Number of players."""
        return len(self.names)

    def pair_neighbours(self) -> GameRecord:
        """Return the record in which everybody beat the next."""
        winners, losers = self.places[:, :-1], self.places[:, 1:]
        is_pair = losers >= 0
        record = GameRecord.from_games(
            winners[is_pair],
            losers[is_pair],
            self.players,
        )
        return GameRecord(**(vars(record) | {"names": self.names}))


@final
@dataclass(frozen=True)
class PlackettLuceMap(Map):
    """Newman's iteration for finishing orders, on log strengths (arXiv 2207.00076, section on multiplayer games).

    A race is won by its first player, then by the second among those who are left, and so on. With `s_k` the sum of the
    strengths of those left at stage k, the winner of the stage gains `s_(k+1) / s_k`, and whoever stays loses
    `strength / s_k`; a prior adds games against a player of strength 1.
    """

    orders: FinishingOrders
    prior: float = 0.0

    def evaluate(self, state: Tree) -> Tree:
        places = self.orders.places
        is_there = places >= 0
        players = places.clamp_min(0)
        strengths = torch.where(is_there, state[players], -torch.inf)
        totals = strengths.flip(-1).logcumsumexp(-1).flip(-1)  # log s_k
        later = torch.nn.functional.pad(
            totals[:, 1:],
            (0, 1),
            value=-torch.inf,
        )
        is_stage = later > -torch.inf
        gained = torch.where(is_stage, (later - totals).exp(), 0.0)
        # log of the sum over the stages before: 1 / s_0 + ... + 1 / s_(k-1)
        before = torch.where(is_stage, -totals, -torch.inf).logcumsumexp(-1)
        before = torch.nn.functional.pad(
            before[:, :-1],
            (1, 0),
            value=-torch.inf,
        )
        lost = torch.where(is_there, (strengths + before).exp(), 0.0)
        gains = self._sum_by_player(gained, players) + self.prior * torch.sigmoid(-state)
        losses = self._sum_by_player(lost, players) + self.prior * torch.sigmoid(state)
        state = state + torch.log(gains) - torch.log(losses)
        return state if self.prior else state - state.mean()

    def _sum_by_player(self, values: Tensor, players: Tensor) -> Tensor:
        return values.new_zeros(self.orders.players).index_add(
            0,
            players.flatten(),
            values.flatten(),
        )


@dataclass(frozen=True)
class PlackettLuce:
    """The model in which `i` comes first with the probability of its share of all strengths, and so on down the order.

    Args:
        prior: games won and lost against a player of strength 1, for everybody.

    Raises:
        ValueError: the prior is negative.
    """

    prior: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.prior < float("inf"):
            raise ValueError(f"PlackettLuce(prior={self.prior}) must be finite and 0 or more, such as 1.0")

    def fit(
        self,
        orders: FinishingOrders | Sequence[Sequence[Any]],
        *,
        options: LimitOptions | None = None,
        **keywords: Unpack[LimitKeywords],
    ) -> Ranking:
        """Return the strengths of players.

        Args:
            orders: finishing orders, the best first; lists, or `FinishingOrders.from_lists(lists, players)`.
            options: how the limit is searched.
            keywords: the options one by one.

        Raises:
            ValueError: there are no strengths of largest likelihood; the message names a player, and the prior.
            NoLimit: the iteration did not end.
        """
        races = orders if isinstance(orders, FinishingOrders) else FinishingOrders.from_lists(orders)
        record = races.pair_neighbours()
        if not self.prior:
            refuse_unreached(record)
        state = torch.zeros(races.players, dtype=torch.float64)
        settings = LimitOptions.gather(options, keywords).over(LimitOptions(tolerance=RANKING_TOLERANCE))
        limit = fixed_point(
            PlackettLuceMap(races, self.prior),
            state,
            options=settings,
        )
        return Ranking(
            limit.state,
            limit,
            races.names,
            groups=record.count_groups() if self.prior else 1,
        )
