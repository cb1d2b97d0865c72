"""Rankings: strengths of players from who beat whom, by Newman's iteration or Zermelo's, as a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack, final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords


@dataclass(frozen=True)
class GameRecord:
    """Who beat whom, and how often: one entry for each ordered pair that met.

    Attributes:
        winners: int64 `(E,)`.
        losers: int64 `(E,)`.
        counts: float64 `(E,)`, positive.
        players: number of players.
    """

    winners: Tensor
    losers: Tensor
    counts: Tensor
    players: int

    @classmethod
    def from_matrix(cls, wins: Tensor) -> GameRecord:
        """Return the record of a matrix whose entry `(i, j)` says how often `i` beat `j`.

        Raises:
            ValueError: it is not square, is negative or not finite, or has nobody in it.
        """
        if wins.dim() != 2 or wins.shape[0] != wins.shape[1] or not len(wins):
            raise ValueError(
                f"wins has the shape {list(wins.shape)}, but must be square, one row and one column a player: "
                "wins[i, j] says how often i beat j"
            )
        counts = wins.to(torch.float64)
        if not bool((counts >= 0).all() & counts.isfinite().all()):
            raise ValueError("wins has entries that are negative or not finite; pass counts, such as wins.clamp_min(0)")
        counts = counts - torch.diag(counts.diagonal())
        winners, losers = counts.nonzero(as_tuple=True)
        return cls(winners, losers, counts[winners, losers], len(wins))

    @classmethod
    def from_games(cls, winners: Sequence[int] | Tensor, losers: Sequence[int] | Tensor, players: int) -> GameRecord:
        """Return the record of games, one winner and one loser each; for many players, most of whom never met.

        Raises:
            ValueError: the games name a player that there is not, or one who played alone.
        """
        first, second = torch.as_tensor(winners), torch.as_tensor(losers)
        if first.shape != second.shape or first.dim() != 1:
            raise ValueError(
                f"got winners of shape {list(first.shape)} and losers of shape {list(second.shape)}; pass one of each "
                "for a game"
            )
        named = torch.cat([first, second])
        if named.numel() and not (int(named.min()) >= 0 and int(named.max()) < players):
            raise ValueError(
                f"the games name players from {int(named.min())} to {int(named.max())}, but there are {players}; "
                "number them from 0, and pass players=..."
            )
        if bool((first == second).any()):
            raise ValueError("a game has the same player as winner and loser; leave it out")
        pairs, counts = (first * players + second).unique(return_counts=True)
        return cls(pairs // players, pairs % players, counts.to(torch.float64), players)

    def sum_by_player(self, values: Tensor, players: Tensor) -> Tensor:
        """Return the sums `(P,)` of values `(E,)` over the entries of each player."""
        return values.new_zeros(self.players).index_add(0, players, values)

    def find_unreached(self) -> set[int]:
        """Return players that no chain of wins leads to from player 0, or from whom none leads back."""
        edges = list(zip(self.winners.tolist(), self.losers.tolist(), strict=True))
        everybody = set(range(self.players))
        down = reach_players(edges, self.players)
        up = reach_players([(loser, winner) for winner, loser in edges], self.players)
        return everybody - (down & up)


def reach_players(edges: Sequence[tuple[int, int]], players: int) -> set[int]:
    """Return the players that can be reached from player 0 along directed edges."""
    followers: list[list[int]] = [[] for _ in range(players)]
    for source, target in edges:
        followers[source].append(target)
    reached, waiting = {0}, [0]
    while waiting:
        for player in followers[waiting.pop()]:
            if player not in reached:
                reached.add(player)
                waiting.append(player)
    return reached


@final
class NewmanMap(Map):
    """Newman's iteration on log strengths, all players at once (arXiv 2207.00076, equations 11 and 26).

        theta_i <- theta_i + log sum_j w_ij s(theta_j - theta_i) - log sum_j w_ji s(theta_i - theta_j)

    with `s` the logistic function; a prior adds games won and lost against a player of strength 1.
    """

    def __init__(self, record: GameRecord, prior: float) -> None:
        self.record = record
        self.prior = prior

    def evaluate(self, state: Tree) -> Tree:
        record = self.record
        surprises = record.counts * torch.sigmoid(state[record.losers] - state[record.winners])
        won = record.sum_by_player(surprises, record.winners) + self.prior * torch.sigmoid(-state)
        lost = record.sum_by_player(surprises, record.losers) + self.prior * torch.sigmoid(state)
        return centre_strengths(state + torch.log(won) - torch.log(lost), self.prior)


@final
class ZermeloMap(Map):
    """Zermelo's iteration of 1929, the one that is commonly used (minorise and maximise), on log strengths."""

    def __init__(self, record: GameRecord, prior: float) -> None:
        self.record = record
        self.prior = prior

    def evaluate(self, state: Tree) -> Tree:
        record = self.record
        chance = torch.sigmoid(state[record.winners] - state[record.losers])
        wins = record.sum_by_player(record.counts, record.winners) + self.prior
        expected = record.sum_by_player(record.counts * chance, record.winners)
        expected = expected + record.sum_by_player(record.counts * (1 - chance), record.losers)
        expected = expected + 2 * self.prior * torch.sigmoid(state)
        return centre_strengths(state + torch.log(wins) - torch.log(expected), self.prior)


def centre_strengths(state: Tensor, prior: float) -> Tensor:
    """Return log strengths of mean zero; as they are with a prior, which has fixed their level."""
    return state if prior else state - state.mean()


@dataclass(frozen=True)
class Ranking:
    """Strengths of players.

    Attributes:
        log_strengths: float64 `(P,)`, of mean zero, or relative to the prior's player.
        limit: how they were found, and what is known of their error.
    """

    log_strengths: Tensor
    limit: Limit

    @property
    def value(self) -> Tensor:
        """The log strengths."""
        return self.log_strengths

    @property
    def order(self) -> list[int]:
        """The players, the strongest first."""
        return self.log_strengths.argsort(descending=True).tolist()

    def predict_win(self, player: int, opponent: int) -> float:
        """Return the probability that a player beats another."""
        return float(torch.sigmoid(self.log_strengths[player] - self.log_strengths[opponent]))


@dataclass(frozen=True)
class BradleyTerry:
    """The model of Bradley and Terry (and Zermelo): `i` beats `j` with probability `p_i / (p_i + p_j)`.

    Args:
        prior: games that every player is taken to have won, and lost, against one of strength 1; Newman's logistic
            prior is 1. With 0 the strengths are those of the largest likelihood, which there are only where a chain of
            wins leads from every player to every other.
        iteration: the map whose limit they are: `NewmanMap` or `ZermeloMap`.
    """

    prior: float = 0.0
    iteration: type[NewmanMap] | type[ZermeloMap] = NewmanMap

    def __post_init__(self) -> None:
        if not self.prior >= 0:
            raise ValueError(f"BradleyTerry(prior={self.prior}) takes games away; pass 0 or more, such as 1.0")

    def fit(
        self,
        wins: Tensor | GameRecord,
        *,
        options: LimitOptions | None = None,
        **keywords: Unpack[LimitKeywords],
    ) -> Ranking:
        """Return the strengths of players.

        Args:
            wins: a matrix of how often `i` beat `j`, or a `GameRecord`.
            options: how the limit is searched.
            keywords: the options one by one.

        Raises:
            ValueError: there are no strengths of largest likelihood; the message names a player, and the prior.
            NoLimit: the iteration did not end.
        """
        record = wins if isinstance(wins, GameRecord) else GameRecord.from_matrix(wins)
        if record.players < 2:
            raise ValueError("one player has nobody to be ranked against; pass the games of two or more")
        if not self.prior:
            refuse_unreached(record)
        defaults = LimitOptions(tolerance=1e-9)
        limit = fixed_point(
            self.iteration(record, self.prior),
            torch.zeros(record.players, dtype=torch.float64),
            options=LimitOptions.gather(options, keywords).over(defaults),
        )
        return Ranking(limit.state, limit)


def refuse_unreached(record: GameRecord) -> None:
    """Refuse games of which no finite strengths are the likeliest."""
    unreached = record.find_unreached()
    if not unreached:
        return
    example = min(unreached)
    raise ValueError(
        f"{len(unreached)} of {record.players} players, such as player {example}, are not joined to player 0 by chains "
        "of wins both ways, so that no finite strengths are the likeliest; write BradleyTerry(prior=1.0)"
    )
