"""Claim: `fixed_point` needs a fraction of the plain iteration's evaluations, and about as many as scipy's best.

    python benchmarks/limits_need_fewer_evaluations.py

Every method ends where the largest element of the residual `T(x) - x` is at most 1e-8, or after 2,000 evaluations.
Errors are distances from the limit of a search to 1e-13, in the largest element. What a method costs besides the map is
measured on a map that costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import _limits
import harness
import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from forerun import Absolute, fixed_point
from forerun.engine.tolerance import largest_element
from forerun.limits import AndersonMixing, AutoMixing, Averaged, Broyden, FilteredAnderson, LimitMethod, Plain

TOLERANCE = 1e-8
MOST = 2000

OURS: dict[str, LimitMethod] = {
    "plain": Plain(),
    "averaged 0.3": Averaged(0.3),
    "AutoMixing": AutoMixing(),
    "Anderson 10": AndersonMixing(10),
    "filtered 10": FilteredAnderson(10),
    "Broyden": Broyden(),
}
# alpha=1 is a first step as the plain iteration takes it; M=10 remembers as much as ours
RIVALS: dict[str, Callable[..., Any]] = {
    "scipy anderson": lambda F, x0: scipy.optimize.anderson(F, x0, M=10, alpha=1, f_tol=TOLERANCE, maxiter=MOST),
    "no line search": lambda F, x0: scipy.optimize.anderson(
        F, x0, M=10, alpha=1, f_tol=TOLERANCE, maxiter=MOST, line_search=None
    ),
    "broyden1": lambda F, x0: scipy.optimize.broyden1(F, x0, alpha=1, f_tol=TOLERANCE, maxiter=MOST),
    "newton_krylov": lambda F, x0: scipy.optimize.newton_krylov(F, x0, f_tol=TOLERANCE, maxiter=MOST),
}


class OutOfBudget(Exception):
    """Raised by a map that was called too often."""


def search(task: _limits.LimitTask, method: LimitMethod, **keywords: Any) -> Any:
    """The limit of a task, by one of our methods."""
    tolerance = keywords.pop("tolerance", Absolute(TOLERANCE, size=largest_element))
    return fixed_point(
        task.evaluate, task.x0, method=method, tolerance=tolerance, max_evaluations=MOST, throw=False, **keywords
    )


def run_scipy(task: _limits.LimitTask, solver: Callable[..., Any]) -> tuple[int, Tensor | None]:
    """Evaluations, and the limit; None where it was not found."""
    calls = [0]

    def residual(x: np.ndarray) -> np.ndarray:
        calls[0] += 1
        if calls[0] > MOST:
            raise OutOfBudget
        point = torch.from_numpy(x.copy())
        return (task.evaluate(point) - point).numpy()

    try:
        found = solver(residual, task.x0.numpy())
    except (OutOfBudget, scipy.optimize.NoConvergence, ValueError, OverflowError, np.linalg.LinAlgError):
        return calls[0], None
    return calls[0], torch.from_numpy(np.asarray(found))


def row_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluations of every method on a task, and errors."""
    task = _limits.TASKS[name]()
    tight = search(task, AndersonMixing(20), tolerance=Absolute(1e-13, size=largest_element))
    evaluations: dict[str, Any] = {"task": name}
    errors: dict[str, Any] = {"task": name}
    for label, method in OURS.items():
        limit = search(task, method)
        evaluations[label] = str(limit.evaluations) if limit.status.done else limit.status.name.lower()
        errors[label] = float((limit.state - tight.state).abs().max()) if limit.status.done else None
    for label, solver in RIVALS.items():
        count, state = run_scipy(task, solver)
        evaluations[label] = "not found" if state is None else str(count)
        errors[label] = None if state is None else float((state - tight.state).abs().max())
    return evaluations, errors


def overhead_row(size: int, repeats: int = 5) -> dict[str, Any]:
    """Microseconds of process time an evaluation, on an elementwise map, without the map's own."""
    rates = torch.linspace(0.1, 0.999, size)
    task = _limits.LimitTask(lambda x: rates * x + 1, torch.zeros(size))

    def measure(run: Callable[[], int]) -> float:
        run()
        costs = []
        for _ in range(repeats):
            start = time.process_time()
            count = run()
            costs.append((time.process_time() - start) / count)
        return 1e6 * sorted(costs)[repeats // 2]

    row: dict[str, Any] = {"size": size}
    for label in ("plain", "AutoMixing", "Anderson 10"):
        row[label] = measure(lambda label=label: search(task, OURS[label]).evaluations)
    for label in ("scipy anderson", "broyden1"):
        row[label] = measure(lambda label=label: run_scipy(task, RIVALS[label])[0])
    return row


def main() -> None:
    """Measure, and write the result."""
    rows = []
    for name in _limits.TASKS:
        rows.append(row_of(name))
        print(rows[-1][0], flush=True)
    sections = {
        "Evaluations": harness.table([evaluations for evaluations, _ in rows]),
        "Largest error": harness.table([errors for _, errors in rows]),
        "Microseconds of an evaluation, the map included, which costs next to nothing": harness.table(
            [overhead_row(size) for size in (100, 10_000)]
        ),
        "Remarks": (
            "Ours count one more evaluation, by which they see whether the map gives the same value again. scipy's "
            "line search evaluates besides the iterations. optimistix 0.1.0 has the plain iteration, Newton and chord, "
            "and no Anderson mixing; SCS's Anderson acceleration is inside of its solver and cannot be called on a map."
        ),
    }
    harness.write_result("limits_need_fewer_evaluations", sections)


if __name__ == "__main__":
    main()
