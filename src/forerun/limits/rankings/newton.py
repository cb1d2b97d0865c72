"""LikelihoodNewtonMap: Newton's iteration on the log likelihood, dense for few players and sparse for many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.limits.rankings.iterations import RankingProblem

MAX_DENSE_PLAYERS = 1500
MAX_HALVINGS = 30
SUFFICIENT_RISE = 1e-4  # of what the slope promises
RISE_ROUNDINGS = 64  # of the likelihood, below which a rise cannot be seen
CG_ACCURACY = 1e-9


@final
@dataclass(frozen=True)
class LikelihoodNewtonMap(Map):
    """A Newton step on the log likelihood, halved until the likelihood rises. For `method=Plain()`.

    The curvature of an entry is taken with respect to its margin and the tie parameter; that of a state is a sum over
    entries, a Laplacian of the graph of games.
    """

    problem: RankingProblem

    def evaluate(self, state: Tree) -> Tree:
        gains, losses = self.problem.sum_flows(state)
        gradient = gains - losses
        step = self._solve_curvature(state, gradient)
        rise = float(gradient @ step)
        likelihood = float(self.problem.measure_likelihood(state))
        slack = RISE_ROUNDINGS * torch.finfo(state.dtype).eps * abs(likelihood)
        share = 1.0
        for _ in range(MAX_HALVINGS):
            risen = float(self.problem.measure_likelihood(state + share * step)) - likelihood
            if risen >= SUFFICIENT_RISE * share * rise - slack:
                break
            share /= 2
        return self.problem.centre_strengths(state + share * step)

    def _solve_curvature(self, state: Tensor, gradient: Tensor) -> Tensor:
        """Return the step `(S,)` that the curvature makes of a gradient."""
        rows, columns, values = self._list_curvatures(state)
        size = self.problem.size
        if size > MAX_DENSE_PLAYERS:
            return solve_sparse(
                rows,
                columns,
                values,
                self._remove_shift(gradient),
            )
        matrix = (
            state.new_zeros(size * size)
            .index_add(
                0,
                rows * size + columns,
                values,
            )
            .reshape(size, size)
        )
        if not self.problem.prior:  # a common shift changes nothing: its curvature is put in place of zero
            players = self.problem.record.players
            matrix[:players, :players] += matrix.diagonal()[:players].mean() / players
        step: Tensor = torch.linalg.solve(matrix, gradient)
        return step

    def _remove_shift(self, gradient: Tensor) -> Tensor:
        """Return a gradient without what rounding left of a common shift of all players, which has no curvature."""
        if self.problem.prior:
            return gradient
        players = self.problem.record.players
        return torch.cat([gradient[:players] - gradient[:players].mean(), gradient[players:]])

    def _list_curvatures(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows, columns and values of the negative Hessian, entries of a place to be summed."""
        problem, record = self.problem, self.problem.record
        columns, weights = self._list_features()
        curvatures = self._differentiate_entries(state)
        rows_list, columns_list, values_list = [], [], []
        for column, weight, is_tie_column in zip(
            columns,
            weights,
            self._tie_columns(),
            strict=True,
        ):
            for other, other_weight, is_other_tie in zip(
                columns,
                weights,
                self._tie_columns(),
                strict=True,
            ):
                rows_list.append(column)
                columns_list.append(other)
                values_list.append(curvatures[is_tie_column + is_other_tie] * weight * other_weight)
        strengths = state[: record.players]
        everybody = torch.arange(record.players)
        rows_list.append(everybody)
        columns_list.append(everybody)
        values_list.append(2 * problem.prior * torch.sigmoid(strengths) * torch.sigmoid(-strengths))
        return torch.cat(rows_list), torch.cat(columns_list), torch.cat(values_list)

    def _list_features(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return which elements of the state each entry depends on, `(E,)` each, and with what weights."""
        problem, record = self.problem, self.problem.record
        one = torch.ones_like(record.counts)
        columns, weights = [record.winners, record.losers], [one, -one]
        if problem.has_home:
            columns.append(torch.full_like(record.winners, record.players))
            weights.append(record.venues)
        if problem.ties.has_parameter:
            columns.append(torch.full_like(record.winners, problem.size - 1))
            weights.append(one)
        return columns, weights

    def _tie_columns(self) -> list[int]:
        """Return 1 for the feature that is the tie parameter, 0 for those of the margin."""
        return [0, 0, *[0] * self.problem.has_home, *[1] * self.problem.ties.has_parameter]

    def _differentiate_entries(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the negative second derivatives `(E,)`: twice the margin, both, and twice the tie parameter."""
        problem, record = self.problem, self.problem.record
        with torch.enable_grad():
            margins = problem.measure_margins(state.detach()).requires_grad_()
            parameters = problem.read_tie_parameter(state.detach()).expand_as(margins).clone().requires_grad_()
            chances = record.counts * problem.ties.log_chance(
                margins,
                parameters,
                record.is_tie,
            )
            slopes = torch.autograd.grad(
                chances.sum(),
                margins,
                create_graph=True,
            )[0]
            twice, mixed = _differentiate_again(slopes, (margins, parameters))
            if not problem.ties.has_parameter:
                return -twice, -mixed, torch.zeros_like(twice)
            slopes = torch.autograd.grad(
                chances.sum(),
                parameters,
                create_graph=True,
            )[0]
            return -twice, -mixed, -_differentiate_again(slopes, (margins, parameters))[1]


def _differentiate_again(slopes: Tensor, arguments: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the derivatives of slopes, entry by entry; zeros where they do not depend on an argument."""
    pair = torch.autograd.grad(
        slopes.sum(),
        arguments,
        retain_graph=True,
        allow_unused=True,
    )
    first, second = (torch.zeros_like(slopes) if slope is None else slope for slope in pair)
    return first, second


def solve_sparse(
    rows: Tensor,
    columns: Tensor,
    values: Tensor,
    right: Tensor,
) -> Tensor:
    """Return the solution of a sparse system by conjugate gradients; of a Laplacian, the one of mean zero.

    Raises:
        ImportError: scipy is not installed.
        RuntimeError: conjugate gradients did not reach the accuracy.
    """
    try:
        from scipy.sparse import coo_matrix, diags
        from scipy.sparse.linalg import cg
    except ImportError as error:
        raise ImportError("Newton's steps for many players use scipy: pip install 'forerun[limits]'") from error
    shape = (len(right), len(right))
    matrix = coo_matrix((values.numpy(), (rows.numpy(), columns.numpy())), shape).tocsr()
    scaling = diags(1 / matrix.diagonal())
    solution, failure = cg(
        matrix,
        right.numpy(),
        rtol=CG_ACCURACY,
        atol=0.0,
        M=scaling,
        maxiter=10 * len(right),
    )
    if failure:
        raise RuntimeError("conjugate gradients did not solve a Newton step; leave iteration=LikelihoodNewtonMap out")
    return torch.from_numpy(solution)
