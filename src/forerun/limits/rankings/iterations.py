"""Iterations that end at the strengths of largest likelihood: Newman's, in two orders, and Zermelo's.

The derivative of the log likelihood with respect to a log strength is a difference of positive sums: what speaks for a
stronger player (`gains`), and what for a weaker one (`losses`). Newman's iteration adds `log gains - log losses`; the
home advantage and the parameter of ties are moved by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.limits.rankings.game_record import GameRecord
from forerun.limits.rankings.tie_rules import NoTies, TieRule


@dataclass(frozen=True)
class RankingProblem:
    """Games and the model of their outcomes. Its state `(S,)` is log strengths, home advantage and tie parameter.

    Attributes:
        record: the games.
        prior: games won and lost by every player against one of strength 1, a logistic prior.
        ties: how likely ties are.
        has_home: whether being at home is an advantage that is estimated.
    """

    record: GameRecord
    prior: float = 0.0
    ties: TieRule = field(default_factory=NoTies)
    has_home: bool = False

    @property
    def size(self) -> int:
        """Length of a state, `S`."""
        return self.record.players + self.has_home + self.ties.has_parameter

    def read_home(self, state: Tensor) -> Tensor:
        """Return the home advantage of a state; 0 where there is none."""
        return state[self.record.players] if self.has_home else state.new_zeros(())

    def read_tie_parameter(self, state: Tensor) -> Tensor:
        """Return the tie parameter of a state; 0 where there is none."""
        return state[-1] if self.ties.has_parameter else state.new_zeros(())

    def measure_margins(self, state: Tensor) -> Tensor:
        """Return by how much the winners were ahead, `(E,)`."""
        record = self.record
        margins = state[record.winners] - state[record.losers]
        return margins + record.venues * self.read_home(state) if self.has_home else margins

    def measure_likelihood(self, state: Tensor) -> Tensor:
        """Return the log likelihood, with that of the prior."""
        record = self.record
        chances = self.ties.log_chance(
            self.measure_margins(state),
            self.read_tie_parameter(state),
            record.is_tie,
        )
        strengths = state[: record.players]
        prior = torch.nn.functional.logsigmoid(torch.stack([strengths, -strengths])).sum()
        return (record.counts * chances).sum() + self.prior * prior

    def centre_strengths(self, state: Tensor) -> Tensor:
        """Return log strengths of mean zero; as they are with a prior, which has fixed their level."""
        if self.prior:
            return state
        players = self.record.players
        return torch.cat([state[:players] - state[:players].mean(), state[players:]])

    def sum_flows(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return gains and losses `(S,)`; their difference is the gradient of the log likelihood."""
        record = self.record
        margins, parameter = self.measure_margins(state), self.read_tie_parameter(state)
        shares = torch.where(
            record.is_tie,
            self.ties.tie_weight * record.counts,
            record.counts,
        )
        up = shares * self.ties.measure_surprise(margins, parameter)
        down = torch.zeros_like(up)
        if self.ties.has_parameter:
            down = torch.where(
                record.is_tie,
                shares * self.ties.measure_surprise(-margins, parameter),
                down,
            )
        strengths = state[: record.players]
        gains = record.sum_by_player(up, record.winners) + self.prior * torch.sigmoid(-strengths)
        losses = record.sum_by_player(up, record.losers) + self.prior * torch.sigmoid(strengths)
        if self.ties.has_parameter:
            gains = gains + record.sum_by_player(down, record.losers)
            losses = losses + record.sum_by_player(down, record.winners)
        extra_gains, extra_losses = self._sum_extra_flows(
            state,
            up,
            down,
        )
        return torch.cat([gains, *extra_gains]), torch.cat([losses, *extra_losses])

    def _sum_extra_flows(
        self,
        state: Tensor,
        up: Tensor,
        down: Tensor,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the flows of the home advantage and of the tie parameter, `(1,)` each."""
        record = self.record
        gains, losses = [], []
        if self.has_home:
            at_home, away = record.venues.clamp_min(0), (-record.venues).clamp_min(0)
            gains.append((at_home * up + away * down).sum())
            losses.append((away * up + at_home * down).sum())
        if self.ties.has_parameter:
            flows = self.ties.sum_parameter_flows(
                self.measure_margins(state),
                self.read_tie_parameter(state),
                wins=torch.where(record.is_tie, 0.0, record.counts),
                ties=torch.where(record.is_tie, record.counts, 0.0),
            )
            gains.append(flows[0])
            losses.append(flows[1])
        return [gain.reshape(1) for gain in gains], [loss.reshape(1) for loss in losses]


@final
@dataclass(frozen=True)
class NewmanMap(Map):
    """Newman's iteration on log strengths, all players at once (arXiv 2207.00076, equations 11 and 27).

        theta_i <- theta_i + log sum_j w_ij s(theta_j - theta_i) - log sum_j w_ji s(theta_i - theta_j)

    with `s` the logistic function; a prior adds games won and lost against a player of strength 1. By itself it may go
    round a cycle, as with two players; mixed, or player after player (`SweptNewmanMap`), it ends.
    """

    problem: RankingProblem

    def evaluate(self, state: Tree) -> Tree:
        gains, losses = self.problem.sum_flows(state)
        return self.problem.centre_strengths(state + torch.log(gains) - torch.log(losses))


@final
@dataclass(frozen=True)
class SweptNewmanMap(Map):
    """Newman's iteration as published: player after player, all with the latest strengths of the others.

    Players who never met are moved together: the order is that of the colours of the graph of games.
    """

    problem: RankingProblem

    @cached_property
    def turns(self) -> list[tuple[Tensor, RankingProblem]]:
        """The players that are moved at a time, and their games."""
        problem, record = self.problem, self.problem.record
        colours = colour_players(record)
        turns = []
        for colour in range(int(colours.max()) + 1):
            is_theirs = (colours[record.winners] == colour) | (colours[record.losers] == colour)
            games = RankingProblem(
                record.select_entries(is_theirs),
                problem.prior,
                problem.ties,
                problem.has_home,
            )
            turns.append(((colours == colour).nonzero().squeeze(-1), games))
        return turns

    def evaluate(self, state: Tree) -> Tree:
        state = state.clone()
        for players, games in self.turns:
            gains, losses = games.sum_flows(state)
            state[players] += torch.log(gains[players]) - torch.log(losses[players])
        if self.problem.size > self.problem.record.players:
            extra = slice(self.problem.record.players, None)
            gains, losses = self.problem.sum_flows(state)
            state[extra] += torch.log(gains[extra]) - torch.log(losses[extra])
        return self.problem.centre_strengths(state)


@final
@dataclass(frozen=True)
class ZermeloMap(Map):
    """Zermelo's iteration of 1929, the one that is commonly used (minorise and maximise), on log strengths."""

    problem: RankingProblem

    def __post_init__(self) -> None:
        if self.problem.has_home or self.problem.ties.has_parameter:
            raise ValueError(
                "ZermeloMap is for games without ties and venues; write BradleyTerry(ties=Davidson()), without "
                "iteration=ZermeloMap"
            )

    def evaluate(self, state: Tree) -> Tree:
        record, prior = self.problem.record, self.problem.prior
        chance = torch.sigmoid(state[record.winners] - state[record.losers])
        wins = record.sum_by_player(record.counts, record.winners) + prior
        expected = record.sum_by_player(record.counts * chance, record.winners)
        expected = expected + record.sum_by_player(record.counts * (1 - chance), record.losers)
        expected = expected + 2 * prior * torch.sigmoid(state)
        return self.problem.centre_strengths(state + torch.log(wins) - torch.log(expected))


def colour_players(record: GameRecord) -> Tensor:
    """Return colours int64 `(P,)` such that players who met have different ones, greedily."""
    opponents: list[set[int]] = [set() for _ in range(record.players)]
    for winner, loser in zip(
        record.winners.tolist(),
        record.losers.tolist(),
        strict=True,
    ):
        opponents[winner].add(loser)
        opponents[loser].add(winner)
    colours = [-1] * record.players
    for player, others in enumerate(opponents):
        excluded = {colours[other] for other in others}
        colours[player] = next(colour for colour in range(record.players) if colour not in excluded)
    return torch.tensor(colours)
