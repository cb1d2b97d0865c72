"""Functional equations: `f(x) = sum_k w_k(x) f(phi_k(x)) + g(x)`, with whether one function solves them."""

from forerun.limits.functional_equations.equation import FunctionalEquation, RealFunction
from forerun.limits.functional_equations.existence import ExistenceProof, NoContraction, prove_existence
from forerun.limits.functional_equations.grid_operator import GridMap
from forerun.limits.functional_equations.lipschitz import measure_lipschitz_rates
from forerun.limits.functional_equations.solve import FunctionSolution, fit_family, solve, solve_directly

__all__ = [
    "ExistenceProof",
    "FunctionSolution",
    "FunctionalEquation",
    "GridMap",
    "NoContraction",
    "RealFunction",
    "fit_family",
    "measure_lipschitz_rates",
    "prove_existence",
    "solve",
    "solve_directly",
]
