"""solve_lp and solve_qp: a program to its optimum, or to a proof that there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from forerun.engine.fixed_point import WANTED_ENDS, fixed_point
from forerun.engine.limit_methods import Halpern
from forerun.engine.search import Limit, LimitOptions, NoLimit
from forerun.engine.search.options import LimitKeywords
from forerun.engine.tolerance import Absolute
from forerun.limits.infeasibility.program import Program, ScaledProgram, Vector, prepare_program, scale_program
from forerun.limits.infeasibility.proofs import OptimalityErrors, RayProof
from forerun.limits.infeasibility.splittings import DouglasRachford, PrimalDual
from forerun.limits.infeasibility.watch import ProgramJudge, ProgramJudgement, ProgramWatch, Verdict

PROGRAM_DEFAULTS = LimitOptions(method=Halpern(), tolerance=1e-6, max_evaluations=50_000)
FIRST_STAGE = 200  # evaluations with the first weight; each stage is twice as long
FIRST_WEIGHT = 1.0
LARGEST_WEIGHT_CHANGE = 5.0  # of the weight from one stage to the next
WEIGHT_BOUNDS = (1e-4, 1e4)
SHOWN_RADIUS = 1e3  # from which on a proof is worth a line
RESIDUAL_FLOOR = 1e-15  # at which the search of a stage ends by itself

Splitting = type[DouglasRachford] | type[PrimalDual]


@dataclass(frozen=True, repr=False)
class ProgramLimit(Limit):
    """What `solve_lp` and `solve_qp` return: a `Limit` whose value is the point, with a verdict and its proof.

    Attributes:
        verdict: what is known of the program.
        x: the variables `(N,)`; the last ones where the program is not solved.
        y: the multipliers of the rows `(M,)`, with `P x + c + A' y + z = 0` at an optimum.
        objective: at `x`.
        errors: of `x` and `y` as an optimum.
        primal_proof: the best proof that no point is feasible; its `radius` is 0 where it proves nothing.
        dual_proof: the best proof that no multipliers are.
    """

    verdict: Verdict = Verdict.UNDECIDED
    x: Vector = None  # type: ignore[assignment]
    y: Vector = None  # type: ignore[assignment]
    objective: float = float("nan")
    errors: OptimalityErrors = None  # type: ignore[assignment]
    primal_proof: RayProof = None  # type: ignore[assignment]
    dual_proof: RayProof = None  # type: ignore[assignment]

    @property
    def value(self) -> Any:
        """The variables at the optimum.

        Raises:
            ValueError: there is none, or none was reached; `x` has the last point.
        """
        if self.verdict is not Verdict.SOLVED:
            raise ValueError(f"there is no optimal point to hand out. {self.verdict.value}")
        return self.x

    @property
    def advice(self) -> str:
        """The sentence of the verdict."""
        return self.verdict.value

    def __str__(self) -> str:
        """Describe the verdict in a few lines."""
        errors = self.errors
        lines = [
            self.verdict.value,
            f"{self.describe_cost()}, objective {self.objective:.8g}",
            f"errors: primal {errors.primal:.2g}, dual {errors.dual:.2g}, gap {errors.gap:.2g}",
        ]
        for name, proof in (("point", self.primal_proof), ("multipliers", self.dual_proof)):
            if proof.radius == np.inf:
                lines.append(f"proven: no feasible {name}")
            elif proof.radius >= SHOWN_RADIUS:
                lines.append(f"proven: no feasible {name} with all elements below {proof.radius:.2g}")
        return "\n".join(lines)


def solve_program(
    program: Program,
    *,
    splitting: Splitting = DouglasRachford,
    x0: ArrayLike | None = None,
    y0: ArrayLike | None = None,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> ProgramLimit:
    """Solve a program, linear or quadratic, or prove that it has no solution.

    Both splittings are nonexpansive; their fixed points are solutions, and where there is none their points travel
    along a proof. `Halpern` anchors them, with restarts: the displacement then settles at the best possible rate (Park
    and Ryu, arXiv 2303.15876). What they travel along is polished, and counts once it is proven in the user's numbers
    with all rounding counted. The weight between primal and dual part is balanced in stages, each twice as long.

    Args:
        program: of `prepare_program`.
        splitting: `DouglasRachford`, which factorises a matrix once a stage, or `PrimalDual`, which only multiplies.
        x0: a first point `(N,)`; zero by default.
        y0: first multipliers of the rows `(M,)`.
        options: how the limit is searched; `LimitOptions`. `tolerance` is the largest of the relative errors at an
            optimum, 1e-6 by default; the method is `Halpern()`, and `max_evaluations` 50,000 over all stages.
        throw: raise where the program stays undecided, rather than return what there is.
        keywords: the options one by one.

    Raises:
        ValueError: a first vector is none.
        NoLimit: neither an optimum nor a proof was reached, and `throw`.
    """
    settings = LimitOptions.gather(options, keywords).over(PROGRAM_DEFAULTS)
    x, y = _take_start(x0, program.variables, "x0"), _take_start(y0, program.rows, "y0")
    result = ProgramSearch(program, splitting, settings).search_stages(x, y)
    if throw and result.verdict is Verdict.UNDECIDED and result.status not in WANTED_ENDS:
        raise NoLimit(result)
    return result


def solve_lp(
    cost: ArrayLike,
    matrix: Any = None,
    *,
    row_lower: ArrayLike | None = None,
    row_upper: ArrayLike | None = None,
    lower: ArrayLike | float = -np.inf,
    upper: ArrayLike | float = np.inf,
    **keywords: Any,
) -> ProgramLimit:
    """Solve a linear program, or prove that it has no solution.

        min  c' x    such that    row_lower <= A x <= row_upper    and    lower <= x <= upper

    A program written for `scipy.optimize.linprog` is solved by `solve_lp(**gather_linprog(c, A_ub=..., b_ub=...))`.

    Args:
        cost: `c`, `(N,)`.
        matrix: `A`, `(M, N)`, a scipy.sparse array, or dense; None for no rows.
        row_lower: `(M,)`, or one number; -inf for no limit. Equalities have the same limits.
        row_upper: `(M,)`, or one number; inf for no limit.
        lower: of the variables, `(N,)` or one number.
        upper: of the variables.
        keywords: those of `solve_program`: `splitting`, `x0`, `y0`, `options`, `throw`, `tolerance`, `method` ...

    Raises:
        ValueError: the program is none: shapes, numbers, limits that cross.
        NoLimit: neither an optimum nor a proof was reached, and `throw`.
    """
    program = prepare_program(cost, matrix, row_lower=row_lower, row_upper=row_upper, lower=lower, upper=upper)
    return solve_program(program, **keywords)


def solve_qp(
    quadratic: Any,
    cost: ArrayLike,
    matrix: Any = None,
    *,
    row_lower: ArrayLike | None = None,
    row_upper: ArrayLike | None = None,
    lower: ArrayLike | float = -np.inf,
    upper: ArrayLike | float = np.inf,
    **keywords: Any,
) -> ProgramLimit:
    """Solve a convex quadratic program, or prove that it has no solution.

        min  x' P x / 2 + c' x    such that    row_lower <= A x <= row_upper    and    lower <= x <= upper

    Args:
        quadratic: `P`, `(N, N)`, symmetric without negative eigenvalues; a scipy.sparse array, or dense.
        cost: and all others, as for `solve_lp`.

    Raises:
        ValueError: the program is none: shapes, numbers, limits that cross, an objective that is not convex.
        NoLimit: neither an optimum nor a proof was reached, and `throw`.
    """
    program = prepare_program(
        cost,
        matrix,
        quadratic=quadratic,
        row_lower=row_lower,
        row_upper=row_upper,
        lower=lower,
        upper=upper,
    )
    return solve_program(program, **keywords)


class ProgramSearch:
    """The stages of a search: the splitting with one weight after another, until there is a verdict."""

    def __init__(
        self,
        program: Program,
        splitting: Splitting,
        settings: LimitOptions,
    ) -> None:
        self.program = program
        self.scaled: ScaledProgram = scale_program(program)
        self.splitting = splitting
        self.settings = settings
        self.tolerance = settings.settled().tolerance.threshold()

    def search_stages(
        self,
        x: Vector,
        y: Vector,
    ) -> ProgramLimit:
        """Return the result from a first point and first multipliers of the rows, in the user's units."""
        scaled = self.scaled
        vectors = (x / scaled.columns, y * scaled.objective / scaled.rows, np.zeros_like(x))
        weight, length, left = FIRST_WEIGHT, FIRST_STAGE, self.settings.settled().max_evaluations
        residuals: list[float] = []
        while True:
            map = self.splitting(scaled, weight)
            limit, judgement = self._search_stage(map, vectors, min(length, left))
            residuals += limit.residuals
            left -= limit.evaluations
            if judgement.verdict is not Verdict.UNDECIDED or limit.status in WANTED_ENDS or left < 1:
                return self._report(limit, judgement, residuals)
            vectors = map.read_state(limit.state.numpy())
            weight, length = balance_weight(weight, judgement.errors), 2 * length

    def _search_stage(
        self, map: DouglasRachford | PrimalDual, vectors: tuple[Vector, Vector, Vector], evaluations: int
    ) -> tuple[Limit, ProgramJudgement]:
        """Return the end of one stage, and what it shows."""
        judge = ProgramJudge(self.program, self.scaled, map, self.tolerance)
        first = map.begin_state(*vectors)
        options = replace(
            self.settings,
            certificate=ProgramWatch(judge),
            tolerance=Absolute(RESIDUAL_FLOOR),
            max_evaluations=evaluations,
            repeatable=False,
        )
        limit = fixed_point(map, first, options=options, throw=False)
        state, displacement = limit.state.numpy(), limit.displacement.numpy()
        point, value = (state - displacement, state) if limit.status.done else (state, state + displacement)
        return limit, judge.judge_point(first.numpy(), point, value)

    def _report(
        self,
        limit: Limit,
        judgement: ProgramJudgement,
        residuals: list[float],
    ) -> ProgramLimit:
        """Return the result after the last stage."""
        fields = vars(limit) | {"residuals": residuals, "evaluations": len(residuals), "checkpoint": None}
        objective = self.program.evaluate_objective(judgement.x)
        return ProgramLimit(**fields, **vars(judgement), objective=objective)


def balance_weight(weight: float, errors: OptimalityErrors) -> float:
    """Return the weight at which primal and dual errors would be nearer to each other."""
    ratio = sqrt((errors.primal + RESIDUAL_FLOOR) / (errors.dual + RESIDUAL_FLOOR))
    change = min(max(ratio, 1 / LARGEST_WEIGHT_CHANGE), LARGEST_WEIGHT_CHANGE)
    return min(max(weight * change, WEIGHT_BOUNDS[0]), WEIGHT_BOUNDS[1])


def _take_start(
    values: ArrayLike | None,
    count: int,
    name: str,
) -> Vector:
    """Return a first vector; zero where there is none."""
    if values is None:
        return np.zeros(count)
    start = np.array(values, dtype=np.float64)
    if start.shape != (count,) or not np.isfinite(start).all():
        raise ValueError(f"{name} has the shape {list(start.shape)}, but must be {count} finite numbers")
    return start
