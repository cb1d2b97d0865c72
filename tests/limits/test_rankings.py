"""Rankings: the strengths of largest likelihood, whatever the iteration, and what has none is refused."""

import pytest
import torch

from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing, NoLimit, Plain
from forerun.limits.rankings import BradleyTerry, GameRecord, NewmanMap, ZermeloMap

DOUBLE = torch.float64


def play(players=30, games=1500, spread=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    strength = spread * torch.randn(players, generator=generator, dtype=DOUBLE)
    first, second = torch.randint(players, (2, games), generator=generator)
    first, second = first[first != second], second[first != second]
    is_won = torch.rand(len(first), generator=generator, dtype=DOUBLE) < torch.sigmoid(
        strength[first] - strength[second]
    )
    return GameRecord.from_games(torch.where(is_won, first, second), torch.where(is_won, second, first), players)


def gradient(record, theta, prior):
    """The gradient of the log likelihood, by autograd."""
    theta = theta.clone().requires_grad_()
    margin = theta[record.winners] - theta[record.losers]
    likelihood = (record.counts * torch.nn.functional.logsigmoid(margin)).sum()
    likelihood = (
        likelihood + prior * (torch.nn.functional.logsigmoid(theta) + torch.nn.functional.logsigmoid(-theta)).sum()
    )
    return torch.autograd.grad(likelihood, theta)[0]


@pytest.mark.parametrize("iteration", [NewmanMap, ZermeloMap])
@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_the_likelihood_is_largest(iteration, prior):
    record = play()
    ranking = BradleyTerry(prior=prior, iteration=iteration).fit(record, tolerance=1e-11)
    assert float(gradient(record, ranking.value, prior).abs().max()) < 1e-6
    check_map(iteration(record, prior), ranking.value)


def test_newman_accelerated_needs_far_fewer_evaluations_than_zermelo():
    record = play(players=100, games=5000, spread=2.0)
    zermelo = BradleyTerry(prior=1.0, iteration=ZermeloMap).fit(record, method=Plain(), tolerance=1e-6)
    newman = BradleyTerry(prior=1.0).fit(record, tolerance=1e-6)
    assert zermelo.limit.evaluations > 15 * newman.limit.evaluations
    assert newman.order[:3] == zermelo.order[:3]


def test_two_players_have_their_odds_and_the_plain_iteration_cycles():
    wins = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    ranking = BradleyTerry().fit(wins, method=AndersonMixing())
    assert ranking.predict_win(0, 1) == pytest.approx(0.75, abs=1e-8)
    with pytest.raises(NoLimit, match="cycle"):
        BradleyTerry().fit(wins, method=Plain())


def test_a_matrix_and_games_are_the_same():
    record = GameRecord.from_games([0, 0, 1, 2], [1, 1, 2, 0], 3)
    matrix = torch.tensor([[0, 2, 0], [0, 0, 1], [1, 0, 0]])
    assert torch.allclose(BradleyTerry().fit(record).value, BradleyTerry().fit(matrix).value)


@pytest.mark.parametrize(
    "wins, says",
    [
        (torch.tensor([[0.0, 3.0], [0.0, 0.0]]), r"BradleyTerry\(prior=1.0\)"),
        (torch.zeros(3, 3), "player 1"),
        (torch.zeros(2, 3), "square"),
        (torch.zeros(0, 0), "square"),
        (torch.zeros(1, 1), "nobody"),
        (torch.tensor([[0.0, -1.0], [1.0, 0.0]]), "negative"),
    ],
)
def test_what_has_no_ranking_is_refused(wins, says):
    with pytest.raises(ValueError, match=says):
        BradleyTerry().fit(wins)


def test_a_prior_ranks_whoever_never_met():
    ranking = BradleyTerry(prior=1.0).fit(torch.tensor([[0.0, 3.0], [0.0, 0.0]]))
    assert ranking.order == [0, 1]
    with pytest.raises(ValueError, match="prior=-1"):
        BradleyTerry(prior=-1)


def test_games_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="number them from 0"):
        GameRecord.from_games([1, 2], [0, 3], 3)
    with pytest.raises(ValueError, match="same player"):
        GameRecord.from_games([1], [1], 3)
    with pytest.raises(ValueError, match="one of each"):
        GameRecord.from_games([1], [1, 2], 3)
