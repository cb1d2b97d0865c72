"""Preconditioners: the incomplete factors are those of the definition, sweeps are exact in the end, learning pays."""

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from limits.maps import DOUBLE
from scipy.sparse.linalg import cg

from forerun.engine.testing import check_map
from forerun.limits.preconditioner import (
    FactorNetwork,
    IncompleteCholeskyMap,
    LearnedPreconditioner,
    LowerPattern,
    TriangularFactor,
    factorise_incompletely,
    solve_linear,
)
from forerun.worlds.conductivity import draw_diffusion_matrix, load_preconditioner


def finite_elements(size=8, seed=0):
    """A matrix with triangles in its graph, so that products have places: a graph Laplacian and a little more."""
    generator = np.random.default_rng(seed)
    n = size * size
    dense = np.zeros((n, n))
    for offset in (1, size, size + 1):
        for i in range(n - offset):
            dense[i, i + offset] = dense[i + offset, i] = -generator.random()
    dense[range(n), range(n)] = 0.1 - dense.sum(1)
    return sparse.csr_array(dense)


def eliminate(dense, share=0.0):
    """IC(0) row by row, as in the books."""
    n = len(dense)
    L = np.tril(dense)
    for k in range(n):
        L[k, k] = np.sqrt(L[k, k])
        L[k + 1 :, k] /= L[k, k]
        for j in range(k + 1, n):
            for i in range(j, n):
                product = L[i, k] * L[j, k]
                if dense[i, j] or i == j:
                    L[i, j] -= product
                else:
                    L[i, i] -= share * product
                    L[j, j] -= share * product
    return L


def count_iterations(matrix, factor, seed=0):
    counts = []
    b = np.random.default_rng(seed).standard_normal(matrix.shape[0])
    operator = None if factor is None else factor.as_operator()
    _, info = cg(matrix, b, M=operator, rtol=1e-10, maxiter=5000, callback=counts.append)
    assert info == 0
    return len(counts)


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize("make", [finite_elements, lambda: draw_diffusion_matrix(0, size=8)], ids=["nine", "five"])
def test_incomplete_factors_are_those_of_the_books(make, share):
    matrix = make()
    factor = factorise_incompletely(LowerPattern.from_matrix(matrix), share=share)
    assert np.allclose(factor.to_matrix().toarray(), eliminate(matrix.toarray(), share), atol=1e-11)


def test_the_map_of_an_incomplete_factor_keeps_its_contract():
    factor = factorise_incompletely(LowerPattern.from_matrix(finite_elements(4)))
    pattern = factor.pattern
    nothing = torch.zeros(3, 0, dtype=torch.int64)
    fill = torch.zeros(4, 0, dtype=torch.int64)
    user_map = IncompleteCholeskyMap(pattern, nothing, fill, 0.0, 0.0)
    check_map(user_map, {"entries": pattern.entries, "pivots": torch.ones_like(pattern.scales)})


def test_a_factor_without_fill_solves_at_once():
    n = 30
    matrix = sparse.diags_array([[2.5] * n, [-1.0] * (n - 1), [-1.0] * (n - 1)], offsets=[0, 1, -1]).tocsr()
    factor = factorise_incompletely(LowerPattern.from_matrix(matrix))
    assert count_iterations(matrix, factor) == 1


def test_sweeps_are_exact_after_as_many_as_there_are_levels():
    matrix = draw_diffusion_matrix(1, size=9)
    factor = factorise_incompletely(LowerPattern.from_matrix(matrix))
    r = np.random.default_rng(0).standard_normal(81)
    exact = factor.as_operator() @ r
    assert np.allclose(factor.with_sweeps(17).as_operator() @ r, exact, rtol=1e-12)
    assert np.allclose(factor.apply(torch.from_numpy(r)).numpy(), exact, rtol=1e-12)
    few = factor.with_sweeps(3)
    assert np.allclose(few.apply(torch.from_numpy(r)).numpy(), few.as_operator() @ r)
    counts = [count_iterations(matrix, factor.with_sweeps(sweeps)) for sweeps in (0, 1, 3, 17)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == count_iterations(matrix, factor)


@pytest.mark.parametrize("sweeps", [0, 1, 2, 5])
def test_what_sweeps_apply_is_symmetric_and_positive(sweeps):
    factor = factorise_incompletely(LowerPattern.from_matrix(finite_elements(5))).with_sweeps(sweeps)
    M = np.stack([factor.as_operator() @ row for row in np.eye(25)])
    assert np.allclose(M, M.T)
    assert np.linalg.eigvalsh(M).min() > 0


@pytest.mark.parametrize("dtype, tolerance", [(DOUBLE, 1e-10), (torch.float32, 1e-4)], ids=["double", "single"])
def test_our_gradients_are_those_of_scipy(dtype, tolerance):
    matrix = draw_diffusion_matrix(2, size=10)
    b = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).to(dtype)
    factor = factorise_incompletely(LowerPattern.from_matrix(matrix))
    solution = solve_linear(matrix, b, factor, tolerance=tolerance)
    assert solution.is_solved
    assert solution.x.dtype == dtype
    expected = np.linalg.solve(matrix.toarray(), b.double().numpy())
    assert np.allclose(solution.x.double().numpy(), expected, atol=100 * tolerance)
    if dtype == DOUBLE:
        _, info = cg(matrix, b.numpy(), M=factor.as_operator(), rtol=1e-10, maxiter=solution.iterations + 1)
        assert info == 0
    plain = solve_linear(matrix, b, tolerance=tolerance)
    assert plain.iterations > solution.iterations
    assert float(solve_linear(matrix, 0 * b).x.abs().max()) == 0


def test_what_was_not_reached_is_said():
    matrix = draw_diffusion_matrix(2, size=10)
    b = torch.ones(100, dtype=DOUBLE)
    with pytest.raises(RuntimeError, match="max_iterations"):
        solve_linear(matrix, b, max_iterations=3)
    solution = solve_linear(matrix, b, max_iterations=3, throw=False)
    assert not solution.is_solved
    assert solution.iterations == 3
    assert not solve_linear(matrix, b.float(), tolerance=1e-12, throw=False).is_solved  # beyond the dtype


# Networks.


def test_an_untrained_network_is_gauss_seidel():
    matrix = draw_diffusion_matrix(0, size=7)
    L = LearnedPreconditioner().factorise(matrix).to_matrix().toarray()
    D = np.diag(matrix.diagonal())
    lower = np.tril(matrix.toarray())
    assert np.allclose(L, lower @ np.linalg.inv(np.sqrt(D)), atol=1e-6)


def test_training_lowers_iterations_and_is_repeatable(tmp_path):
    matrices = [draw_diffusion_matrix(seed, size=10) for seed in range(3)]
    learned, again = (LearnedPreconditioner.train(matrices, width=8, rounds=2, steps=100) for _ in range(2))
    assert learned.losses == again.losses
    assert learned.losses[-1] < 0.5 * learned.losses[0]
    other = draw_diffusion_matrix(99, size=12)
    factor = learned.factorise(other)
    assert count_iterations(other, factor) < count_iterations(other, LearnedPreconditioner().factorise(other))
    learned.save(tmp_path / "weights.safetensors")
    loaded = LearnedPreconditioner.load(tmp_path / "weights.safetensors").factorise(other)
    assert torch.equal(loaded.entries, factor.entries)


def test_the_one_that_ships_needs_fewer_iterations_than_an_incomplete_factor():
    shipped = load_preconditioner()
    counts = []
    for seed in (5000, 5001):
        matrix = draw_diffusion_matrix(seed, size=32)
        plain = factorise_incompletely(LowerPattern.from_matrix(matrix))
        counts.append([count_iterations(matrix, shipped.factorise(matrix)), count_iterations(matrix, plain)])
    learned, incomplete = np.mean(counts, 0)
    assert learned <= 0.75 * incomplete


def test_a_factor_has_no_units_and_follows_its_blocks():
    shipped = load_preconditioner()
    matrix = draw_diffusion_matrix(3, size=8)
    factor = shipped.factorise(matrix)
    larger = shipped.factorise(1e6 * matrix)
    assert np.allclose(larger.to_matrix().toarray(), 1e3 * factor.to_matrix().toarray(), rtol=1e-5)
    pair = sparse.block_diag([matrix, draw_diffusion_matrix(4, size=5)], format="csr")
    together = shipped.factorise(pair).to_matrix().toarray()
    assert np.allclose(together[:64, :64], factor.to_matrix().toarray(), rtol=1e-5)


def with_nan():
    matrix = draw_diffusion_matrix(0, size=4)
    matrix.data[0] = np.nan
    return matrix


SMALL = draw_diffusion_matrix(0, size=3)
INDEFINITE = sparse.csr_array(np.array([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize(
    "make, error, says",
    [
        (lambda: LowerPattern.from_matrix(np.eye(3)), TypeError, "csr_array"),
        (lambda: LowerPattern.from_matrix(sparse.csr_array((0, 0))), ValueError, "0 x 0"),
        (lambda: LowerPattern.from_matrix(sparse.csr_array((2, 3))), ValueError, "square"),
        (lambda: LowerPattern.from_matrix(sparse.triu(SMALL)), ValueError, "not symmetric"),
        (lambda: LowerPattern.from_matrix(1j * SMALL), ValueError, "complex"),
        (lambda: LowerPattern.from_matrix(with_nan()), ValueError, "finite"),
        (lambda: LowerPattern.from_matrix(-SMALL), ValueError, "positive definite"),
        (lambda: LowerPattern.from_matrix(sparse.csr_array((3, 3))), ValueError, "diagonal entry 0"),
        (lambda: factorise_incompletely(LowerPattern.from_matrix(INDEFINITE)), ValueError, "shift"),
        (lambda: solve_linear(INDEFINITE, torch.tensor([1.0, -1.0])), ValueError, "minres"),
        (lambda: solve_linear(SMALL, torch.ones(4)), ValueError, "shape"),
        (lambda: solve_linear(SMALL, torch.full((9,), float("nan"))), ValueError, "finite"),
        (lambda: LearnedPreconditioner.train([]), ValueError, "no matrices"),
        (lambda: LearnedPreconditioner.train([SMALL], solutions=[torch.ones(4, 2)]), ValueError, "solutions 0"),
        (lambda: LearnedPreconditioner.train([SMALL], solutions=[]), ValueError, "0 sets"),
        (lambda: LearnedPreconditioner.load(__file__), ValueError, "save"),
        (lambda: FactorNetwork(width=0), ValueError, "width=0"),
        (lambda: LearnedPreconditioner().factorise(SMALL, sweeps=-1), ValueError, "sweeps=-1"),
        (lambda: draw_diffusion_matrix(0, size=0), ValueError, "size=0"),
        (
            lambda: TriangularFactor(LowerPattern.from_matrix(SMALL), -torch.ones(9), torch.ones(12)),
            ValueError,
            "not positive",
        ),
    ],
)
def test_bad_input_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_one_unknown_and_no_entries():
    matrix = sparse.csr_array(np.array([[4.0]]))
    for factor in (factorise_incompletely(LowerPattern.from_matrix(matrix)), LearnedPreconditioner().factorise(matrix)):
        assert factor.as_operator() @ np.ones(1) == pytest.approx(0.25, rel=1e-6)
        assert float(solve_linear(matrix, torch.ones(1), factor).x) == pytest.approx(0.25, rel=1e-6)
