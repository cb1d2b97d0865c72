"""The rounding of a run: how far it may have taken the end of the path, in the norm of the tolerance."""

from __future__ import annotations

import torch

from forerun.engine.check import largest_size
from forerun.engine.options import SolveSettings
from forerun.engine.process import is_adapter
from forerun.engine.rows import Problem
from forerun.engine.solve_state import SolveState


def measure_run_rounding(state: SolveState) -> float:
    """Return how far rounding may have taken a run, in the norm of the tolerance, at the end of its path.

    Where steps have moved, the check knows how distances grow along the path, better than one or two samples do.
    """
    log_gain = state.estimator.shadow.log_gain
    if state.exact or log_gain is None:
        return state.rounding.measure_deviation()
    length = state.window.problem.length
    return state.rounding.measure_deviation(largest_size(log_gain) / max(length, 1), moved=True)


def rounds_states(state: SolveState) -> bool:
    """Return whether the user's own steps round states to half precision, which only the plain loop does likewise."""
    problem = state.window.problem
    return problem.input_layout.is_rounded and not is_adapter(problem.process)


def measure_rounding(problem: Problem, state: SolveState, settings: SolveSettings) -> float:
    """Return the size of rounding at the end of the path, in the norm of the tolerance."""
    epsilon = torch.finfo(problem.input_layout.dtype).eps
    last_input = problem.observe(state.window.state).unsqueeze(0)
    last_step = problem.step_range(problem.length - 1, problem.length)
    return largest_size(settings.tolerance.norm(last_step, epsilon * last_input, last_input))
