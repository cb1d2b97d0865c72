"""Rankings: strengths of players from who beat whom, with ties, venues and orders of many, as limits."""

from forerun.limits.rankings.bradley_terry import BradleyTerry
from forerun.limits.rankings.game_record import GameRecord
from forerun.limits.rankings.iterations import NewmanMap, RankingProblem, SweptNewmanMap, ZermeloMap
from forerun.limits.rankings.newton import LikelihoodNewtonMap
from forerun.limits.rankings.plackett_luce import FinishingOrders, PlackettLuce, PlackettLuceMap
from forerun.limits.rankings.ranking import Ranking
from forerun.limits.rankings.simulation import draw_games
from forerun.limits.rankings.tie_rules import Davidson, NoTies, RaoKupper, TieRule

__all__ = [
    "BradleyTerry",
    "Davidson",
    "FinishingOrders",
    "GameRecord",
    "LikelihoodNewtonMap",
    "NewmanMap",
    "NoTies",
    "PlackettLuce",
    "PlackettLuceMap",
    "Ranking",
    "RankingProblem",
    "RaoKupper",
    "SweptNewmanMap",
    "TieRule",
    "ZermeloMap",
    "draw_games",
]
