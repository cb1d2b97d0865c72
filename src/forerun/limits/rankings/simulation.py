"""Games drawn from a model: to try one, or to see how far strengths can be recovered from so many."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.limits.rankings.game_record import GameRecord
from forerun.limits.rankings.tie_rules import NoTies, TieRule


def draw_games(
    log_strengths: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    ties: TieRule | None = None,
    tie_parameter: float = 0.0,
    home_advantage: float | None = None,
    generator: torch.Generator | None = None,
) -> GameRecord:
    """Return the record of games drawn between pairs of players; who would play himself does not.

    Args:
        log_strengths: `(P,)`.
        first: int64 `(G,)`, of each game.
        second: int64 `(G,)`.
        ties: how likely ties are.
        tie_parameter: on the scale of the rule: the logarithm of Davidson's `nu`.
        home_advantage: of the first player of every game; None on neutral ground.
        generator: of the random numbers.
    """
    rule = ties or NoTies()
    first, second = first[first != second], second[first != second]
    margins = log_strengths[first] - log_strengths[second] + (home_advantage or 0.0)
    parameter = margins.new_tensor(tie_parameter)
    no_tie = torch.zeros_like(first, dtype=torch.bool)
    win = rule.log_chance(margins, parameter, no_tie).exp()
    loss = rule.log_chance(-margins, parameter, no_tie).exp()
    drawn = torch.rand(
        len(first),
        generator=generator,
        dtype=margins.dtype,
    )
    is_lost = (drawn >= win) & (drawn < win + loss)
    is_at_home = 0 if home_advantage is None else 1
    return GameRecord.from_games(
        torch.where(is_lost, second, first),
        torch.where(is_lost, first, second),
        len(log_strengths),
        is_tie=(drawn >= win + loss) & rule.has_parameter,
        venues=torch.where(is_lost, -is_at_home, is_at_home),
    )
