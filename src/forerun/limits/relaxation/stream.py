"""Relaxed: a solver over a stream of systems, whose relaxation parameter is learnt from iterations alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from forerun.limits.relaxation.learners import Chances, LearnerMemory, ParameterLearner, PricedChoice, TsallisInf
from forerun.limits.relaxation.solvers import RelaxedSolver, Sor, SystemMatrix, SystemSolution

SOR_OMEGAS = (1.0, 1.2, 1.4, 1.6, 1.8)


@dataclass
class SettingStream:
    """Problems that come one after another, for each of which a learner chooses a setting: `choose`, then `learn`.

    For any setting with a price: a relaxation parameter, a window, the memory of a method.

    Args:
        settings: to choose from.
        learner: that chooses.
        seed: of its random numbers.

    Attributes:
        choices: what was chosen and what it cost, in order.
    """

    settings: Sequence[Any]
    learner: ParameterLearner = field(default_factory=TsallisInf)
    seed: int = 0
    choices: list[PricedChoice] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not len(self.settings):
            raise ValueError("there are no settings to choose from; pass one or more")
        if not isinstance(self.learner, ParameterLearner):
            raise TypeError(f"learner must be a ParameterLearner, got {self.learner!r}; write learner=TsallisInf()")
        self._memory: LearnerMemory = self.learner.begin_memory(len(self.settings))
        self._generator = np.random.default_rng(self.seed)
        self._chosen: tuple[int, float, float] | None = None

    def choose_setting(self, context: float = nan) -> Any:
        """Return the setting for the next problem."""
        chances = self.weigh_settings(context)
        index = int(self._generator.choice(len(chances), p=chances))
        self._chosen = (index, float(chances[index]), context)
        return self.settings[index]

    def learn_cost(self, cost: float) -> None:
        """Take note of what the last choice cost.

        Raises:
            ValueError: nothing was chosen since, or the cost is not finite.
        """
        if self._chosen is None:
            raise ValueError("nothing was chosen that could have a cost; call choose_setting() before learn_cost()")
        if not 0 <= cost < np.inf:
            raise ValueError(f"a cost must be finite and not negative, got {cost}; pass iterations, or seconds")
        index, chance, context = self._chosen
        self.choices.append(PricedChoice(index, chance, float(cost), context))
        self._memory = self.learner.learn_cost(self._memory, self.choices[-1])
        self._chosen = None

    def weigh_settings(self, context: float = nan) -> Chances:
        """Return the chance of every setting for the next problem, `(settings,)`."""
        return self.learner.weigh_settings(self._memory, context)

    @property
    def total_cost(self) -> float:
        """What all problems so far have cost."""
        return sum(choice.cost for choice in self.choices)


class Relaxed:
    """A solver over a stream of systems: `relaxed.solve(A, b)` for one after another.

    Args:
        solver: `Sor()`, or `SsorCg()`.
        omegas: relaxation parameters to choose from, between 0 and 2.
        learner: that chooses; `TsallisInf()`, or a `ChebyshevBandit` where a context is known of every system.
        seed: of its random numbers.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: a parameter is not between 0 and 2.
    """

    def __init__(
        self,
        solver: RelaxedSolver | None = None,
        *,
        omegas: Sequence[float] = SOR_OMEGAS,
        learner: ParameterLearner | None = None,
        seed: int = 0,
    ) -> None:
        if solver is not None and not isinstance(solver, RelaxedSolver):
            raise TypeError(f"solver must be a RelaxedSolver, got {solver!r}; write Relaxed(Sor())")
        if not all(0 < omega < 2 for omega in omegas):
            raise ValueError(f"omegas={tuple(omegas)} must lie between 0 and 2, where sweeps converge")
        self.solver = solver or Sor()
        self.stream = SettingStream(tuple(omegas), learner or TsallisInf(), seed)

    def solve(
        self,
        matrix: Any,
        right: ArrayLike,
        *,
        context: float = nan,
    ) -> SystemSolution:
        """Return the solution of the next system, `A x = b`.

        Args:
            matrix: `A`, `(N, N)`, symmetric and positive definite; a scipy.sparse array, or dense.
            right: `b`, `(N,)`.
            context: a number that says how hard the system is, such as the shift of its diagonal.

        Raises:
            ValueError: the system is none that sweeps solve, or did not converge; nothing is learnt from it then.
        """
        rows, vector = take_system(matrix, right)
        omega = self.stream.choose_setting(context)
        solution = self.solver.solve_system(rows, vector, omega)
        if not solution.converged:
            raise ValueError(
                f"{type(self.solver).__name__} with omega={omega} left a residual of {solution.residual:.2g} after "
                f"{solution.iterations} iterations: the matrix may not be positive definite, or too badly conditioned; "
                "pass max_iterations=..., or take SsorCg()"
            )
        self.stream.learn_cost(max(solution.iterations, 1))
        return solution

    @property
    def omegas(self) -> list[float]:
        """The relaxation parameters that were chosen, in order."""
        return [self.stream.settings[choice.setting] for choice in self.stream.choices]


def take_system(matrix: Any, right: ArrayLike) -> tuple[SystemMatrix, NDArray[np.float64]]:
    """Return a system that sweeps can solve, the matrix in rows.

    Raises:
        ValueError: shapes, numbers, a diagonal that is not positive, or a matrix that is not symmetric.
    """
    rows = sparse.csr_array(matrix).astype(np.float64)
    vector = np.array(right, dtype=np.float64)
    if rows.shape[0] != rows.shape[1] or vector.shape != rows.shape[:1]:
        raise ValueError(
            f"a matrix of shape {list(rows.shape)} and a right side of {list(vector.shape)} are no system; pass (N, N) "
            "and (N,)"
        )
    if not (np.isfinite(rows.data).all() and np.isfinite(vector).all()):
        raise ValueError("the system has numbers that are not finite; look where they come from")
    diagonal = rows.diagonal()
    if not (diagonal > 0).all():
        row = int((~(diagonal > 0)).argmax())
        raise ValueError(
            f"the diagonal is {diagonal[row]:.3g} in row {row}, but that of a positive definite matrix is positive; "
            "sweeps divide by it"
        )
    difference = abs(rows - rows.T)
    if difference.nnz and difference.max() > 1e-10 * abs(rows).max():
        raise ValueError("the matrix is not symmetric; SOR and conjugate gradients are for symmetric ones")
    return rows, vector


def replay_costs(
    learner: ParameterLearner, costs: ArrayLike, *, contexts: ArrayLike | None = None, seed: int = 0
) -> SettingStream:
    """Return what a learner chooses where the costs of all settings are known, of which it sees its own choice's.

    Args:
        learner: that chooses.
        costs: `(problems, settings)`.
        contexts: `(problems,)`.
        seed: of its random numbers.
    """
    table = np.asarray(costs, dtype=np.float64)
    known = np.full(len(table), nan) if contexts is None else np.asarray(contexts, dtype=np.float64)
    stream = SettingStream(range(table.shape[1]), learner, seed)
    for row, context in zip(table, known, strict=True):
        stream.learn_cost(row[stream.choose_setting(float(context))])
    return stream
