"""The engine's own settings, learnt over a stream of problems by the bandit that learns relaxation: an experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import forerun
from forerun.limits import AndersonMixing, bregman
from forerun.studies.limits._decision_process import draw_values

if TYPE_CHECKING:
    from forerun.limits.relaxation.learners import Chances

PRICED_MEMORIES = (1, 2, 3, 5, 8, 12)
PRICED_WINDOWS = (8, 16, 32, 64, 128)
WINDOW_LENGTH = 128  # steps of a path
STATES = 60
TOGETHER = 32  # evaluations that cost as much as a round besides


def price_memories(problems: int) -> Chances:
    """Return evaluations of Anderson mixing by its memory, `(problems, memories)`, on random decision processes."""
    costs = np.zeros((problems, len(PRICED_MEMORIES)))
    first = torch.zeros(STATES, dtype=torch.float64)
    for problem in range(problems):
        improve = draw_values(STATES, 0.9 + 0.09 * (problem % 10) / 9, problem)
        for place, memory in enumerate(PRICED_MEMORIES):
            method = AndersonMixing(memory)
            limit = forerun.fixed_point(improve, first, method=method, tolerance=1e-8, throw=False)
            costs[problem, place] = limit.evaluations
    return costs


def price_windows(problems: int) -> Chances:
    """Return rounds and a share of the evaluations of a path run ahead, by its window, `(problems, windows)`."""
    costs = np.zeros((problems, len(PRICED_WINDOWS)))
    for problem in range(problems):
        generator = torch.Generator().manual_seed(problem)
        scores = torch.randn(20, 20, generator=generator, dtype=torch.float64)
        path = bregman.MirrorPath(_respond_to(2 * scores), bregman.Entropy(), WINDOW_LENGTH)
        first = torch.zeros(20, dtype=torch.float64)
        for place, window in enumerate(PRICED_WINDOWS):
            solution = forerun.solve(path, first, method=forerun.Secant(), window=window, tolerance=1e-6)
            costs[problem, place] = solution.rounds + solution.evaluations / TOGETHER
    return costs


def _respond_to(scores: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the operator on the simplex that answers to shares by their scores."""
    return lambda shares: (scores @ shares).softmax(-1)
