"""Learners: which of a few settings to take next, from nothing but what the last ones cost.

A learner is a frozen set of numbers. What it has learnt is its memory, a dictionary of arrays: it returns another one
after every problem.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt
from typing import final

import numpy as np
from numpy.typing import NDArray

try:
    from scipy.optimize import lsq_linear
except ImportError as error:
    raise ImportError("relaxation needs scipy: pip install 'forerun[limits]'") from error

Chances = NDArray[np.float64]
LearnerMemory = Mapping[str, NDArray[np.float64]]

CHANCE_PRECISION = 1e-12  # of the sum of chances
MAX_CHANCE_STEPS = 100
GRAM_RIDGE = 1e-6  # of a regression, in costs squared


@dataclass(frozen=True)
class PricedChoice:
    """A setting that was chosen, and what came of it.

    Attributes:
        setting: its index.
        chance: with which it was chosen.
        cost: positive and finite, such as iterations.
        context: what was known of the problem beforehand; nan where nothing was.
    """

    setting: int
    chance: float
    cost: float
    context: float


class ParameterLearner(ABC):
    """A way to choose among settings."""

    @abstractmethod
    def begin_memory(self, settings: int) -> LearnerMemory:
        """Return the memory before the first problem."""

    @abstractmethod
    def weigh_settings(
        self,
        memory: LearnerMemory,
        context: float,
    ) -> Chances:
        """Return the chance `(settings,)` of each setting for the next problem."""

    @abstractmethod
    def learn_cost(
        self,
        memory: LearnerMemory,
        choice: PricedChoice,
    ) -> LearnerMemory:
        """Return the memory after a problem."""


@final
@dataclass(frozen=True)
class FixedSetting(ParameterLearner):
    """The same setting for all problems: what learners are compared with.

    Args:
        choice: its index.
    """

    choice: int

    def begin_memory(self, settings: int) -> LearnerMemory:
        if not 0 <= self.choice < settings:
            raise ValueError(f"FixedSetting({self.choice}) is not one of {settings}; pass 0 to {settings - 1}")
        return {"chances": np.eye(settings)[self.choice]}

    def weigh_settings(
        self,
        memory: LearnerMemory,
        context: float,
    ) -> Chances:
        return memory["chances"]

    def learn_cost(
        self,
        memory: LearnerMemory,
        choice: PricedChoice,
    ) -> LearnerMemory:
        return memory


@final
@dataclass(frozen=True)
class TsallisInf(ParameterLearner):
    """Follow the regularised leader with the half-Tsallis entropy (Zimmert and Seldin, JMLR 22, 2021).

        p_i = 4 (eta (L_i - x))^-2,    eta = 2 / sqrt(t),    x such that they sum to one

    with `L` the importance-weighted costs, `(cost - 1) / p` of what was chosen, in units of a scale. Its costs approach
    those of the best fixed setting, whether problems are random or chosen by an adversary; SOR is tuned by it in
    Khodak, Chow, Balcan and Talwalkar (ICLR 2024).

    Args:
        scale: of the costs; their mean so far where it is left out.
    """

    scale: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < inf:
            raise ValueError(f"TsallisInf(scale={self.scale}) is not a size of costs; pass a positive one")

    def begin_memory(self, settings: int) -> LearnerMemory:
        return {"losses": np.zeros(settings), "total": np.ones(1), "problem": np.ones(1)}

    def weigh_settings(
        self,
        memory: LearnerMemory,
        context: float,
    ) -> Chances:
        scale = self.scale or float(memory["total"][0] / memory["problem"][0])
        return normalise_chances(memory["losses"] / scale, 2 / sqrt(memory["problem"][0]))

    def learn_cost(
        self,
        memory: LearnerMemory,
        choice: PricedChoice,
    ) -> LearnerMemory:
        losses = memory["losses"].copy()
        losses[choice.setting] += (choice.cost - 1) / choice.chance
        return {"losses": losses, "total": memory["total"] + choice.cost, "problem": memory["problem"] + 1}


def normalise_chances(losses: Chances, rate: float) -> Chances:
    """Return `4 (rate (L - x))^-2` with the `x` at which they sum to one, by Newton's method from above."""
    offset = losses.min() - 2 / rate  # there the smallest loss has a chance of one, and the sum is too large
    chances = 4 / (rate * (losses - offset)) ** 2
    for _ in range(MAX_CHANCE_STEPS):
        excess = chances.sum() - 1
        if excess <= CHANCE_PRECISION:
            break
        offset -= excess / (rate * (chances**1.5).sum())
        chances = 4 / (rate * (losses - offset)) ** 2
    normalised: Chances = chances / chances.sum()
    return normalised


@final
@dataclass(frozen=True)
class ChebyshevBandit(ParameterLearner):
    """Regress the cost of every setting on the context by Chebyshev polynomials, and sample by the inverse gap.

        p_i = 1 / (d + g (y_i - y_best)),    g = greed sqrt(t) / scale

    for all but the best, which has what is left (SquareCB: Foster and Rakhlin, ICML 2020; ChebCB: Khodak et al., ICLR
    2024). Coefficients are kept in a box. Its costs approach those of the best setting for every context.

    Args:
        low: smallest context.
        high: largest context.
        degree: of the polynomials.
        greed: how soon it trusts its regression.
        bound: of a coefficient, in units of the largest cost so far.
    """

    low: float
    high: float
    degree: int = 6
    greed: float = 100.0
    bound: float = 1.0

    def __post_init__(self) -> None:
        if not -inf < self.low < self.high < inf:
            raise ValueError(f"contexts from low={self.low} to high={self.high} are none; pass low < high")
        if self.degree < 0 or not (self.greed > 0 and self.bound > 0):
            raise ValueError(
                f"degree={self.degree}, greed={self.greed} and bound={self.bound} must be at least 0, and positive"
            )

    def begin_memory(self, settings: int) -> LearnerMemory:
        size = self.degree + 1
        return {
            "grams": np.zeros((settings, size, size)),
            "moments": np.zeros((settings, size)),
            "counts": np.zeros(settings),
            "largest": np.ones(1),
        }

    def weigh_settings(
        self,
        memory: LearnerMemory,
        context: float,
    ) -> Chances:
        if not np.isfinite(context):
            raise ValueError(f"ChebyshevBandit needs the context of every problem, got {context}; pass context=...")
        counts = memory["counts"]
        chances = np.zeros(len(counts))
        if not counts.all():
            chances[counts.argmin()] = 1.0  # every setting once
            return chances
        predicted = self.predict_costs(memory, context) / memory["largest"][0]
        gaps = predicted - predicted.min()
        best = gaps.argmin()
        chances[:] = 1 / (len(counts) + self.greed * sqrt(counts.sum()) * gaps)
        chances[best] = 0.0
        chances[best] = 1 - chances.sum()
        return chances

    def learn_cost(
        self,
        memory: LearnerMemory,
        choice: PricedChoice,
    ) -> LearnerMemory:
        setting, features = choice.setting, self._list_features(choice.context)
        grams, moments, counts = memory["grams"].copy(), memory["moments"].copy(), memory["counts"].copy()
        grams[setting] += np.outer(features, features)
        moments[setting] += choice.cost * features
        counts[setting] += 1
        largest = np.maximum(memory["largest"], choice.cost)
        return {"grams": grams, "moments": moments, "counts": counts, "largest": largest}

    def predict_costs(
        self,
        memory: LearnerMemory,
        context: float,
    ) -> Chances:
        """Return the cost `(settings,)` of every setting at a context, by the regressions so far."""
        features, box = self._list_features(context), self.bound * float(memory["largest"][0])
        grams = memory["grams"] + GRAM_RIDGE * np.eye(len(features))
        coefficients = np.linalg.solve(grams, memory["moments"][..., None])[..., 0]
        for setting in np.flatnonzero(np.abs(coefficients).max(1) > box):
            factor = np.linalg.cholesky(grams[setting])
            target = np.linalg.solve(factor, memory["moments"][setting])
            coefficients[setting] = lsq_linear(factor.T, target, bounds=(-box, box)).x
        predicted: Chances = coefficients @ features
        return predicted

    def _list_features(self, context: float) -> Chances:
        """Return the Chebyshev polynomials `(degree + 1,)` at a context."""
        place = float(np.clip(2 * (context - self.low) / (self.high - self.low) - 1, -1, 1))
        features: Chances = np.polynomial.chebyshev.chebvander(place, self.degree)[0]
        return features
