"""GameRecord: who beat whom, who drew with whom, and who was at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from forerun.limits.rankings.player_names import Labels, Players, list_column, name_players, number_players


@dataclass(frozen=True)
class GameRecord:
    """The outcomes of games, one entry for each pair, outcome and venue that occurred.

    Attributes:
        winners: int64 `(E,)`; of a tied game, either player.
        losers: int64 `(E,)`; the other one.
        counts: float64 `(E,)`, positive.
        is_tie: bool `(E,)`.
        venues: float64 `(E,)`: 1 where the winner was at home, -1 where the loser was, 0 on neutral ground.
        players: number of players.
        names: of the players, in order; their numbers where they have none.
    """

    winners: Tensor
    losers: Tensor
    counts: Tensor
    is_tie: Tensor
    venues: Tensor
    players: int
    names: Labels = ()

    @classmethod
    def from_matrix(
        cls,
        wins: Tensor,
        *,
        ties: Tensor | None = None,
        names: Labels = (),
    ) -> GameRecord:
        """Return the record of a matrix whose entry `(i, j)` says how often `i` beat `j`.

        Args:
            wins: `(P, P)`; the diagonal changes nothing.
            ties: `(P, P)`, symmetric: how often `i` and `j` drew.
            names: of the players.

        Raises:
            ValueError: it is not square, is negative or not finite, or has nobody in it.
        """
        counts = _read_counts(wins, "wins")
        winners, losers = counts.nonzero(as_tuple=True)
        entries = counts[winners, losers]
        is_tie = torch.zeros(len(winners), dtype=torch.bool)
        if ties is not None:
            tied = _read_counts(ties, "ties")
            if tied.shape != counts.shape or not torch.equal(tied, tied.mT):
                raise ValueError(
                    "ties must be symmetric and of the shape of wins: ties[i, j] games of i and j were tied"
                )
            first, second = tied.triu().nonzero(as_tuple=True)
            winners, losers = torch.cat([winners, first]), torch.cat([losers, second])
            entries = torch.cat([entries, tied[first, second]])
            is_tie = torch.cat([is_tie, torch.ones(len(first), dtype=torch.bool)])
        names = names or tuple(range(len(counts)))
        return cls(
            winners,
            losers,
            entries,
            is_tie,
            torch.zeros_like(entries),
            len(counts),
            names,
        )

    @classmethod
    def from_games(
        cls,
        winners: Sequence[Any] | Tensor,
        losers: Sequence[Any] | Tensor,
        players: Players = None,
        *,
        is_tie: Sequence[bool] | Tensor | None = None,
        venues: Sequence[int] | Tensor | None = None,
    ) -> GameRecord:
        """Return the record of games, one winner and one loser each; for many players, most of whom never met.

        Args:
            winners: of every game; numbers, or names of any kind, such as a column of a data frame.
            losers: likewise.
            players: how many there are, where players are numbered from 0; or their names. Left out, those that occur.
            is_tie: which games were tied.
            venues: 1 where the winner was at home (of a tied game, the one who stands there), -1 where the loser was,
                0 on neutral ground.

        Raises:
            ValueError: the games name a player that there is not, or one who played alone.
        """
        if len(winners) != len(losers):
            raise ValueError(f"got {len(winners)} winners and {len(losers)} losers; pass one of each for a game")
        games = [list_column(winners), list_column(losers)]
        names = name_players(games, players)
        first, second = (torch.tensor(number_players(column, names), dtype=torch.int64) for column in games)
        if bool((first == second).any()):
            raise ValueError("a game has the same player as winner and loser; leave it out")
        columns = [first, second]
        for values, title in ((is_tie, "is_tie"), (venues, "venues")):
            columns.append(_read_column(values, len(first), title))
        if not bool((columns[3].abs() <= 1).all()):
            raise ValueError("venues must be 1 (the winner was at home), -1 (the loser was) or 0")
        entries, counts = torch.stack(columns).unique(dim=1, return_counts=True)
        return cls(
            entries[0],
            entries[1],
            counts.to(torch.float64),
            entries[2].bool(),
            entries[3].to(torch.float64),
            len(names),
            names,
        )

    def split_ties(self) -> GameRecord:
        """Return the record with every tie as half a game won by either."""
        tied = self.is_tie
        halves = torch.where(tied, 0.5 * self.counts, self.counts)
        return replace(
            self,
            winners=torch.cat([self.winners, self.losers[tied]]),
            losers=torch.cat([self.losers, self.winners[tied]]),
            counts=torch.cat([halves, halves[tied]]),
            is_tie=self.is_tie.new_zeros(len(self.counts) + int(tied.sum())),
            venues=torch.cat([self.venues, -self.venues[tied]]),
        )

    def join(self, other: GameRecord) -> GameRecord:
        """Return the record of these games and others among the same players."""
        return replace(
            self,
            winners=torch.cat([self.winners, other.winners]),
            losers=torch.cat([self.losers, other.losers]),
            counts=torch.cat([self.counts, other.counts]),
            is_tie=torch.cat([self.is_tie, other.is_tie]),
            venues=torch.cat([self.venues, other.venues]),
        )

    def select_entries(self, is_selected: Tensor) -> GameRecord:
        """Return the record of some entries, bool `(E,)`, among the same players."""
        return replace(
            self,
            winners=self.winners[is_selected],
            losers=self.losers[is_selected],
            counts=self.counts[is_selected],
            is_tie=self.is_tie[is_selected],
            venues=self.venues[is_selected],
        )

    def sum_by_player(self, values: Tensor, players: Tensor) -> Tensor:
        """Return the sums `(P,)` of values `(E,)` over the entries of each player."""
        return values.new_zeros(self.players).index_add(
            0,
            players,
            values,
        )

    def find_unreached(self) -> set[int]:
        """Return players that no chain of wins or ties leads to from player 0, or from whom none leads back."""
        edges = list(
            zip(
                self.winners.tolist(),
                self.losers.tolist(),
                strict=True,
            )
        )
        backwards = [(loser, winner) for winner, loser in edges]
        tied = [
            pair
            for pair, is_tie in zip(
                backwards,
                self.is_tie.tolist(),
                strict=True,
            )
            if is_tie
        ]
        down = reach_players(edges + tied, self.players)
        up = reach_players(backwards + [(second, first) for first, second in tied], self.players)
        return set(range(self.players)) - (down & up)

    def count_groups(self) -> int:
        """Return the number of groups of players that no chain of games joins."""
        edges = list(
            zip(
                self.winners.tolist(),
                self.losers.tolist(),
                strict=True,
            )
        )
        both_ways = edges + [(loser, winner) for winner, loser in edges]
        followers = list_followers(both_ways, self.players)
        left, groups = set(range(self.players)), 0
        while left:
            left -= follow_edges(followers, next(iter(left)))
            groups += 1
        return groups


def list_followers(edges: Sequence[tuple[int, int]], players: int) -> list[list[int]]:
    """Return the ends of the edges from each player."""
    followers: list[list[int]] = [[] for _ in range(players)]
    for source, target in edges:
        followers[source].append(target)
    return followers


def reach_players(edges: Sequence[tuple[int, int]], players: int) -> set[int]:
    """Return the players that can be reached from player 0 along directed edges."""
    return follow_edges(list_followers(edges, players), 0)


def follow_edges(followers: Sequence[Sequence[int]], first: int) -> set[int]:
    """Return whoever can be reached from a player."""
    reached, waiting = {first}, [first]
    while waiting:
        for player in followers[waiting.pop()]:
            if player not in reached:
                reached.add(player)
                waiting.append(player)
    return reached


def _read_counts(matrix: Tensor, title: str) -> Tensor:
    """Return a matrix of counts with an empty diagonal."""
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(
            f"{title} has the shape {list(matrix.shape)}, but must be square, one row and one column a player: "
            "wins[i, j] says how often i beat j"
        )
    counts = matrix.to(torch.float64)
    if not bool((counts >= 0).all() & counts.isfinite().all()):
        raise ValueError(f"{title} has entries that are negative or not finite; pass counts, such as wins.clamp_min(0)")
    return counts - torch.diag(counts.diagonal())


def _read_column(
    values: Sequence[Any] | Tensor | None,
    games: int,
    title: str,
) -> Tensor:
    """Return one whole number for each game, 0 where nothing was passed."""
    if values is None:
        return torch.zeros(games, dtype=torch.int64)
    if len(values) != games:
        raise ValueError(f"{title} has {len(values)} entries for {games} games; pass one for each")
    return torch.as_tensor(list(values)).to(torch.int64)
