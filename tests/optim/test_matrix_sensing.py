"""Matrix sensing: gradients by autograd, minimisers, the path in order and ahead, refusals."""

import itertools

import pytest
import torch

from forerun import Secant, Sequential, Sliding
from forerun.optim.matrix_sensing import SensingDescent, SensingProblem, descend

EIGENVALUES = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)


def small_problem(measurements=400, seed=0):
    return SensingProblem.draw_random(8, EIGENVALUES, measurements, seed)


def test_the_folded_loss_and_gradient_are_those_of_the_measurements():
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(30, 5, 5, dtype=torch.float64, generator=generator)
    values = torch.randn(30, dtype=torch.float64, generator=generator)
    problem = SensingProblem.from_measurements(matrices, values)
    factors = torch.randn(3, 5, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    products = factors @ factors.mT
    loss = ((matrices * products[:, None]).sum((-1, -2)) - values).square().mean(-1) / 4
    torch.testing.assert_close(problem.measure_loss(factors), loss)
    (gradient,) = torch.autograd.grad(loss.sum(), factors)
    torch.testing.assert_close(problem.compute_gradient(factors.detach()), gradient)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_minimisers_are_stationary_and_of_their_rank(rank):
    problem = small_problem()
    best = problem.find_minimizer(rank)
    values, vectors = torch.linalg.eigh(best)
    assert int((values > 1e-5).sum()) == min(rank, 3)
    factors = vectors * values.clamp_min(0).sqrt()
    gradient = problem.compute_gradient(factors[:, -min(rank, 3) :])
    assert gradient.abs().max() < 1e-6


def test_the_minimiser_of_rank_one_is_no_truncation():
    problem = small_problem(60)
    values, vectors = torch.linalg.eigh(problem.find_minimizer(3))
    truncated = values[-1] * vectors[:, -1:] @ vectors[:, -1:].T
    assert torch.linalg.matrix_norm(problem.find_minimizer(1) - truncated) > 0.1


def test_smaller_beginnings_come_nearer_to_the_minimiser_of_every_rank():
    problem = small_problem()
    nearest = []
    for scale in (1e-1, 1e-3, 1e-6):
        path = descend(problem, 8, scale=scale, steps=1500, method=Sequential(), check=False)
        nearest.append([float(path.measure_distances(problem.find_minimizer(rank)).min()) for rank in (1, 2)])
    for before, after in itertools.pairwise(nearest):
        assert all(late < 0.4 * early for early, late in zip(before, after, strict=True))


def test_too_few_columns_end_at_the_minimiser_of_their_rank():
    problem = small_problem()
    path = descend(problem, 2, scale=1e-6, steps=2500, method=Sequential(), check=False)
    assert float(path.measure_distances(problem.find_minimizer(2))[-1]) < 1e-5


def test_the_path_ahead_stays_on_the_plateaus():
    problem = small_problem()
    settings = {"scale": 1e-8, "steps": 1500}
    truth = descend(problem, 8, **settings, method=Sequential(), check=False)
    ahead = descend(problem, 8, **settings, method=Secant(), window=Sliding(32), tolerance=1e-14, check=False)
    assert (ahead.matrices - truth.matrices).abs().max() < 1e-6
    assert ahead.solution.rounds < 500


def test_the_closed_form_is_the_step():
    process = SensingDescent(small_problem(), 0.02, 10)
    state, output = torch.randn(8, 2, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    maps = process.affine(torch.arange(3))
    expected = maps.state[0] * state + maps.output[0] * output
    torch.testing.assert_close(process.advance(0, state, output), expected)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"rank": 0}, "1 to 8 columns"),
        ({"rank": 9}, "1 to 8 columns"),
        ({"scale": 0.0}, "above zero and finite"),
        ({"rate": float("nan")}, "above zero and finite"),
    ],
)
def test_bad_descents_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        descend(small_problem(), **({"rank": 2} | change))


def test_bad_measurements_are_refused():
    with pytest.raises(ValueError, match=r"\(m, d, d\) with values \(m,\), got \(3, 2, 2\) and \(4,\)"):
        SensingProblem.from_measurements(torch.ones(3, 2, 2), torch.ones(4))
    with pytest.raises(ValueError, match="must be finite"):
        SensingProblem.from_measurements(torch.full((3, 2, 2), torch.nan), torch.ones(3))
    with pytest.raises(ValueError, match="between 1 and 8"):
        small_problem().find_minimizer(9)
