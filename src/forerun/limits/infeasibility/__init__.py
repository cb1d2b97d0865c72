"""Programs, linear and convex quadratic: solved by splittings with anchors, or proven to have no solution."""

from forerun.limits.infeasibility.displacement import ShiftedRotation, measure_slope, trace_displacement
from forerun.limits.infeasibility.program import Program, gather_linprog, prepare_program
from forerun.limits.infeasibility.proofs import (
    OptimalityErrors,
    RayProof,
    measure_errors,
    prove_dual_ray,
    prove_primal_ray,
)
from forerun.limits.infeasibility.random_programs import ProgramKind, draw_program
from forerun.limits.infeasibility.solve import ProgramLimit, solve_lp, solve_program, solve_qp
from forerun.limits.infeasibility.splittings import DouglasRachford, PrimalDual
from forerun.limits.infeasibility.watch import Verdict

__all__ = [
    "DouglasRachford",
    "OptimalityErrors",
    "PrimalDual",
    "Program",
    "ProgramKind",
    "ProgramLimit",
    "RayProof",
    "ShiftedRotation",
    "Verdict",
    "draw_program",
    "gather_linprog",
    "measure_errors",
    "measure_slope",
    "prepare_program",
    "prove_dual_ray",
    "prove_primal_ray",
    "solve_lp",
    "solve_program",
    "solve_qp",
    "trace_displacement",
]
