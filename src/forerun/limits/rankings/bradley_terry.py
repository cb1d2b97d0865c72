"""BradleyTerry: strengths of players from who beat whom, as the limit of an iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Unpack

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import LimitMethod, Plain
from forerun.engine.map import Map
from forerun.engine.search import LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.rankings.game_record import GameRecord
from forerun.limits.rankings.iterations import NewmanMap, RankingProblem
from forerun.limits.rankings.newton import LikelihoodNewtonMap
from forerun.limits.rankings.ranking import Ranking
from forerun.limits.rankings.tie_rules import NoTies, TieRule

RANKING_TOLERANCE = 1e-9


@dataclass(frozen=True)
class BradleyTerry:
    """The model in which `i` beats `j` with the probability `s_i / (s_i + s_j)` (Bradley and Terry, 1952).

    Args:
        prior: games won and lost against a player of strength 1, for everybody: a logistic prior. It is needed where
            some player won or lost all games, or where groups never met.
        ties: `Davidson()` or `RaoKupper()`, where games were tied.
        home: estimate what being at home adds to a log strength, from the venues of the record.
        iteration: `NewmanMap`, `SweptNewmanMap` (as published, player after player), `ZermeloMap` or
            `LikelihoodNewtonMap`.

    Raises:
        ValueError: the prior is negative.
    """

    prior: float = 0.0
    ties: TieRule = field(default_factory=NoTies)
    home: bool = False
    iteration: Callable[[RankingProblem], Map] = NewmanMap

    def __post_init__(self) -> None:
        if not 0 <= self.prior < float("inf"):
            raise ValueError(f"BradleyTerry(prior={self.prior}) must be finite and 0 or more, such as 1.0")
        if not isinstance(self.ties, TieRule):
            raise TypeError(f"ties must be a TieRule, got {self.ties!r}; write BradleyTerry(ties=Davidson())")

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
        self._refuse_record(record)
        problem = RankingProblem(
            record,
            self.prior,
            self.ties,
            self.home,
        )
        state = torch.zeros(problem.size, dtype=torch.float64)
        limit = fixed_point(
            self.iteration(problem), state, options=LimitOptions.gather(options, keywords).over(self._choose_options())
        )
        return Ranking(
            log_strengths=limit.state[: record.players],
            limit=limit,
            names=record.names,
            groups=record.count_groups() if self.prior else 1,
            home_advantage=float(problem.read_home(limit.state)),
            ties=self.ties,
            tie_parameter=float(problem.read_tie_parameter(limit.state)),
        )

    def _choose_options(self) -> LimitOptions:
        """Return what is taken where the caller says nothing: Newton's steps are not mixed."""
        method: LimitMethod | None = Plain() if self.iteration is LikelihoodNewtonMap else None
        return LimitOptions(tolerance=RANKING_TOLERANCE, method=method)

    def _refuse_record(self, record: GameRecord) -> None:
        """Refuse games that the model cannot rank."""
        if record.players < 2:
            raise ValueError("one player has nobody to be ranked against; pass the games of two or more")
        refuse_ties(record, self.ties)
        if self.home:
            refuse_venues(record)
        if not self.prior:
            refuse_unreached(record)


def refuse_ties(record: GameRecord, ties: TieRule) -> None:
    """Refuse ties without a rule, and a rule whose parameter no game tells."""
    count = int(record.is_tie.sum())
    if count and not ties.has_parameter:
        raise ValueError(
            "the record has tied games, for which the model has no rule; write BradleyTerry(ties=Davidson()), or count "
            "them as half a win for either: record.split_ties()"
        )
    if ties.has_parameter and count in {0, len(record.counts)}:
        outcome = "tied" if count else "won"
        raise ValueError(
            f"all games were {outcome}, so that no finite parameter of {type(ties).__name__}() is the likeliest; leave "
            "ties=... out, or pass games of both kinds"
        )


def refuse_venues(record: GameRecord) -> None:
    """Refuse venues that tell no advantage."""
    venues = record.venues
    has_home_win = bool(((venues > 0) | (record.is_tie & (venues < 0))).any())
    has_away_win = bool(((venues < 0) | (record.is_tie & (venues > 0))).any())
    if not (has_home_win and has_away_win):
        raise ValueError(
            "home=True needs games that the home player won, and some that he did not; pass venues=... to "
            "GameRecord.from_games (1: the winner was at home, -1: the loser was), or leave home=True out"
        )


def refuse_unreached(record: GameRecord) -> None:
    """Refuse games of which no finite strengths are the likeliest."""
    unreached = record.find_unreached()
    if not unreached:
        return
    example = record.names[min(unreached)]
    raise ValueError(
        f"{len(unreached)} of {record.players} players, such as player {example}, are not joined to player "
        f"{record.names[0]} by chains of wins both ways, so that no finite strengths are the likeliest; write "
        "prior=1.0, which ranks them all"
    )
