"""Preconditioners: factors with the pattern of a matrix, learned or incomplete, for conjugate gradients."""

from forerun.limits.preconditioner.conjugate_gradient import LinearSolution, solve_linear
from forerun.limits.preconditioner.factor_network import FactorNetwork
from forerun.limits.preconditioner.incomplete_cholesky import IncompleteCholeskyMap, factorise_incompletely
from forerun.limits.preconditioner.learned_preconditioner import LearnedPreconditioner
from forerun.limits.preconditioner.lower_pattern import LowerPattern
from forerun.limits.preconditioner.triangular_factor import TriangularFactor

__all__ = [
    "FactorNetwork",
    "IncompleteCholeskyMap",
    "LearnedPreconditioner",
    "LinearSolution",
    "LowerPattern",
    "TriangularFactor",
    "factorise_incompletely",
    "solve_linear",
]
