"""Rankings: the strengths of largest likelihood, whatever the iteration, and what has none is refused."""

import choix
import numpy
import pandas
import pytest
import torch

from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing, NoLimit, Plain
from forerun.limits.rankings import (
    BradleyTerry,
    Davidson,
    FinishingOrders,
    GameRecord,
    LikelihoodNewtonMap,
    NewmanMap,
    NoTies,
    PlackettLuce,
    PlackettLuceMap,
    RankingProblem,
    RaoKupper,
    SweptNewmanMap,
    ZermeloMap,
)

DOUBLE = torch.float64
ITERATIONS = [NewmanMap, SweptNewmanMap, LikelihoodNewtonMap]


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def play(players=30, games=1500, spread=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    strength = spread * torch.randn(players, generator=generator, dtype=DOUBLE)
    first, second = torch.randint(players, (2, games), generator=generator)
    first, second = first[first != second], second[first != second]
    is_won = torch.rand(len(first), generator=generator, dtype=DOUBLE) < torch.sigmoid(
        strength[first] - strength[second]
    )
    return GameRecord.from_games(torch.where(is_won, first, second), torch.where(is_won, second, first), players)


def play_with_ties(players=12, games=1200, home=0.5, nu=0.7):
    """Games by Davidson's model, with venues."""
    generator = torch.Generator().manual_seed(1)
    strength = torch.randn(players, generator=generator, dtype=DOUBLE)
    first, second = torch.randint(players, (2, games), generator=generator)
    first, second = first[first != second], second[first != second]
    venues = torch.randint(-1, 2, first.shape, generator=generator)
    margins = strength[first] - strength[second] + home * venues
    weights = torch.stack([(margins / 2).exp(), (-margins / 2).exp(), torch.full_like(margins, nu)], 1)
    outcome = torch.multinomial(weights, 1, generator=generator).squeeze(1)
    winners, losers = torch.where(outcome == 1, second, first), torch.where(outcome == 1, first, second)
    venues = torch.where(outcome == 1, -venues, venues)
    return GameRecord.from_games(winners, losers, players, is_tie=outcome == 2, venues=venues)


def gradient(problem, ranking):
    """The gradient of the log likelihood at a ranking, by autograd."""
    extras = [ranking.home_advantage] * problem.has_home + [ranking.tie_parameter] * problem.ties.has_parameter
    state = torch.cat([ranking.value, torch.tensor(extras, dtype=DOUBLE)])
    return torch.func.grad(problem.measure_likelihood)(state)


@pytest.mark.parametrize("iteration", [*ITERATIONS, ZermeloMap])
@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_the_likelihood_is_largest(iteration, prior):
    problem = RankingProblem(play(), prior)
    ranking = BradleyTerry(prior=prior, iteration=iteration).fit(problem.record, tolerance=1e-11)
    assert float(gradient(problem, ranking).abs().max()) < 1e-6
    check_map(iteration(problem), ranking.value)


@pytest.mark.parametrize("ties", [Davidson(), RaoKupper()])
@pytest.mark.parametrize("iteration", ITERATIONS)
@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_ties_and_venues_are_fitted_by_every_iteration(ties, iteration, prior):
    problem = RankingProblem(play_with_ties(), prior, ties, has_home=True)
    model = BradleyTerry(prior=prior, ties=ties, home=True, iteration=iteration)
    ranking = model.fit(problem.record, tolerance=1e-10)
    assert float(gradient(problem, ranking).abs().max()) < 1e-6
    chances = ranking.predict_win(0, 1, venue=1) + ranking.predict_win(1, 0, venue=-1)
    assert chances + ranking.predict_tie(0, 1, venue=1) == pytest.approx(1)
    if isinstance(ties, Davidson):
        assert ranking.home_advantage == pytest.approx(0.5, abs=0.2)
        assert ties.read_parameter(ranking.tie_parameter) == pytest.approx(0.7, abs=0.2)
    else:
        assert ties.read_parameter(ranking.tie_parameter) > 1


@pytest.mark.parametrize("ties", [Davidson(), RaoKupper(), NoTies()])
def test_outcomes_have_the_derivatives_that_are_stated(ties):
    margins, parameter = torch.linspace(-30, 30, 13, dtype=DOUBLE, requires_grad=True), torch.tensor(0.3, dtype=DOUBLE)
    no_tie = torch.zeros(13, dtype=torch.bool)
    slopes = torch.autograd.grad(ties.log_chance(margins, parameter, no_tie).sum(), margins)[0]
    assert torch.allclose(slopes, ties.measure_surprise(margins, parameter), rtol=1e-9, atol=1e-14)
    win, loss = ties.log_chance(margins, parameter, no_tie).exp(), ties.log_chance(-margins, parameter, no_tie).exp()
    tie = ties.log_chance(margins, parameter, ~no_tie).exp() if ties.has_parameter else 0
    assert torch.allclose(win + loss + tie, torch.ones(13, dtype=DOUBLE))


def test_a_published_value_with_a_prior():
    wins = torch.tensor([[0, 1, 3], [1, 1, 3], [2, 0, 0]])  # maxjerdee/pairwise-ranking, by Mathematica
    expected = torch.tensor([0.007264966474190714, 0.6571788464238852, -0.6652672320609864], dtype=DOUBLE)
    assert torch.allclose(BradleyTerry(prior=1.0).fit(wins, tolerance=1e-13).value, expected, atol=1e-12)


def test_pairs_are_ranked_as_by_choix():
    record = play(players=40, games=2000, spread=1.5)
    games = [
        pair
        for winner, loser, count in zip(record.winners, record.losers, record.counts, strict=True)
        for pair in [(int(winner), int(loser))] * int(count)
    ]
    theirs = torch.tensor(choix.ilsr_pairwise(40, games, tol=1e-12))
    for iteration in ITERATIONS:
        ours = BradleyTerry(iteration=iteration).fit(record, tolerance=1e-11).value
        assert torch.allclose(ours, theirs - theirs.mean(), atol=1e-6)


def test_finishing_orders_are_ranked_as_by_choix():
    rng = numpy.random.default_rng(0)
    orders = choix.generate_rankings(rng.normal(size=12), 200, size=5)
    races = [[int(player) for player in order] for order in orders] + [[3, 1], [0, 11, 5]]
    theirs = torch.tensor(choix.ilsr_rankings(12, races, tol=1e-12))
    ranking = PlackettLuce().fit(FinishingOrders.from_lists(races, 12), tolerance=1e-11)
    assert torch.allclose(ranking.value, theirs - theirs.mean(), atol=1e-6)
    check_map(PlackettLuceMap(FinishingOrders.from_lists(races, 12), 0.5), ranking.value)


def test_orders_of_two_are_games():
    record = play(players=8, games=200)
    pairs = [
        [int(w), int(v)]
        for w, v, n in zip(record.winners, record.losers, record.counts, strict=True)
        for _ in range(int(n))
    ]
    for prior in (0.0, 1.0):
        races = PlackettLuce(prior).fit(FinishingOrders.from_lists(pairs, 8), tolerance=1e-11)
        assert torch.allclose(races.value, BradleyTerry(prior).fit(record, tolerance=1e-11).value, atol=1e-8)


def test_newman_accelerated_needs_far_fewer_evaluations_than_zermelo():
    record = play(players=100, games=5000, spread=2.0)
    zermelo = BradleyTerry(prior=1.0, iteration=ZermeloMap).fit(record, method=Plain(), tolerance=1e-6)
    newman = BradleyTerry(prior=1.0).fit(record, tolerance=1e-6)
    assert zermelo.limit.evaluations > 15 * newman.limit.evaluations
    assert newman.order[:3] == zermelo.order[:3]


def test_two_players_have_their_odds_and_only_all_at_once_cycles():
    wins = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    for model, method in ((BradleyTerry(), AndersonMixing()), (BradleyTerry(iteration=SweptNewmanMap), Plain())):
        assert model.fit(wins, method=method).predict_win(0, 1) == pytest.approx(0.75, abs=1e-8)
    with pytest.raises(NoLimit, match="cycle"):
        BradleyTerry().fit(wins, method=Plain())


def test_two_leagues_that_play_each_other_alone_are_moved_in_two_turns():
    first, second = torch.arange(6).repeat(6), 6 + torch.arange(6).repeat_interleave(6)
    is_won = random(36) < 0.5
    record = GameRecord.from_games(
        torch.cat([torch.where(is_won, first, second), first]),
        torch.cat([torch.where(is_won, second, first), second]),
        12,
    )
    problem = RankingProblem(record, 0.5)
    assert len(SweptNewmanMap(problem).turns) == 2
    for model, method in (
        (BradleyTerry(0.5), AndersonMixing()),
        (BradleyTerry(0.5, iteration=SweptNewmanMap), Plain()),
    ):
        assert float(gradient(problem, model.fit(record, method=method)).abs().max()) < 1e-6


@pytest.mark.parametrize("iteration", [NewmanMap, LikelihoodNewtonMap])
def test_ten_thousand_players_are_ranked(iteration):
    record = play(players=10_000, games=120_000, spread=1.0)
    problem = RankingProblem(record, 1.0)
    model = BradleyTerry(prior=1.0, iteration=iteration)
    ranking = model.fit(record, tolerance=1e-7, repeatable=False)
    assert float(gradient(problem, ranking).abs().max()) < 1e-4
    assert ranking.groups == 1


def test_newton_is_damped_where_a_full_step_overshoots():
    wins = torch.tensor([[0.0, 1e6, 0.0], [1.0, 0.0, 1e6], [1.0, 1.0, 0.0]])
    record = GameRecord.from_matrix(wins)
    ranking = BradleyTerry(iteration=LikelihoodNewtonMap).fit(record, tolerance=1e-9)
    assert float(gradient(RankingProblem(record), ranking).abs().max()) < 1e-3


def test_a_matrix_and_games_are_the_same():
    record = GameRecord.from_games([0, 0, 1, 2], [1, 1, 2, 0], 3)
    matrix = torch.tensor([[0, 2, 0], [0, 0, 1], [1, 0, 0]])
    assert torch.allclose(BradleyTerry().fit(record).value, BradleyTerry().fit(matrix).value)
    ties = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    tied = GameRecord.from_games([0, 0, 1, 2, 1], [1, 1, 2, 0, 0], 3, is_tie=[False] * 4 + [True])
    rankings = [BradleyTerry(ties=Davidson()).fit(r) for r in (tied, GameRecord.from_matrix(matrix, ties=ties))]
    assert torch.allclose(rankings[0].value, rankings[1].value)
    halves = BradleyTerry().fit(tied.split_ties()).value
    assert torch.allclose(halves, BradleyTerry().fit(matrix + ties / 2).value)


def test_data_frames_go_in_and_come_out():
    games = pandas.DataFrame({"winner": ["ada", "bob", "cyd", "ada"], "loser": ["bob", "cyd", "ada", "cyd"]})
    record = GameRecord.from_games(games["winner"], games["loser"])
    frame = pandas.DataFrame(BradleyTerry(prior=1.0).fit(record).as_columns())
    assert list(frame.columns) == ["rank", "player", "log_strength", "strength"]
    assert list(frame["player"]) == ["ada", "bob", "cyd"]
    assert frame["strength"].is_monotonic_decreasing
    orders = PlackettLuce(prior=1.0).fit([["ada", "bob", "cyd"], ["ada", "cyd"], ["cyd", "bob"]])
    assert orders.ranked_names[0] == "ada"


@pytest.mark.parametrize(
    "wins, says",
    [
        (torch.tensor([[0.0, 3.0], [0.0, 0.0]]), r"prior=1.0"),
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


def test_a_prior_ranks_whoever_never_met_and_says_so():
    ranking = BradleyTerry(prior=1.0).fit(torch.tensor([[0.0, 3.0], [0.0, 0.0]]))
    assert ranking.order == [0, 1]
    apart = BradleyTerry(prior=1.0).fit(GameRecord.from_games([0, 2], [1, 3], 5))
    assert apart.groups == 3
    assert torch.allclose(apart.value[[0, 1, 4]], apart.value[[2, 3, 4]])
    for model in (BradleyTerry, PlackettLuce):
        with pytest.raises(ValueError, match="prior=-1"):
            model(prior=-1)
        with pytest.raises(ValueError, match="prior=nan"):
            model(prior=float("nan"))


def test_games_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="number them from 0"):
        GameRecord.from_games([1, 2], [0, 3], 3)
    with pytest.raises(ValueError, match="same player"):
        GameRecord.from_games([1], [1], 3)
    with pytest.raises(ValueError, match="one of each"):
        GameRecord.from_games([1], [1, 2], 3)
    with pytest.raises(ValueError, match="'dee' is not among"):
        GameRecord.from_games(["ada"], ["dee"], ["ada", "bob"])
    with pytest.raises(ValueError, match="venues must be 1"):
        GameRecord.from_games([0], [1], 2, venues=[2])
    with pytest.raises(ValueError, match="2 entries for 1 games"):
        GameRecord.from_games([0], [1], 2, is_tie=[True, False])
    with pytest.raises(ValueError, match="symmetric"):
        GameRecord.from_matrix(torch.zeros(2, 2), ties=torch.tensor([[0, 1], [0, 0]]))


@pytest.mark.parametrize(
    "orders, says", [([], "no orders"), ([[0]], "two players"), ([[0, 1, 0]], "nobody twice"), ([[0, 1]], "prior=1.0")]
)
def test_orders_that_cannot_be_are_refused(orders, says):
    with pytest.raises(ValueError, match=says):
        PlackettLuce().fit(orders)


def test_models_that_the_games_do_not_tell_are_refused():
    tied = play_with_ties()
    with pytest.raises(ValueError, match="split_ties"):
        BradleyTerry().fit(tied)
    with pytest.raises(ValueError, match="all games were won"):
        BradleyTerry(ties=Davidson()).fit(play())
    with pytest.raises(ValueError, match="all games were tied"):
        BradleyTerry(ties=RaoKupper()).fit(tied.select_entries(tied.is_tie))
    with pytest.raises(ValueError, match="venues"):
        BradleyTerry(home=True).fit(play())
    with pytest.raises(ValueError, match="without ties and venues"):
        BradleyTerry(ties=Davidson(), iteration=ZermeloMap).fit(tied)
    with pytest.raises(TypeError, match="Davidson"):
        BradleyTerry(ties="davidson")
