"""Logistic regression by stochastic gradients: runs for several rates and seeds at once, and how far they end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from forerun.optim import ScheduleFree

BATCH = 8
NEWTON_STEPS = 30
RIDGE = 1e-4  # keeps the optimum finite where classes can be separated
Schedule = Callable[[int], float]  # the share of the rate at a step
MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]


@dataclass(frozen=True)
class LogisticProblem:
    """Mean logistic loss of signed rows, `(samples, features)`: each row times its label of -1 or 1."""

    signed: Tensor

    @classmethod
    def from_labels(cls, features: Tensor, labels: Tensor) -> LogisticProblem:
        """Return the problem of features and labels of 0 or 1; a column of ones is the bias."""
        rows = torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], 1)
        return cls(rows * (2 * labels[:, None].to(features) - 1))

    @classmethod
    def random(cls, samples: int = 2000, features: int = 50) -> LogisticProblem:
        """Return the problem of features whose sizes differ by a factor of thirty."""
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(samples, features, generator=generator) * torch.logspace(0, -1.5, features)
        scores = inputs @ (2 * torch.randn(features, generator=generator)) + 0.5 * torch.randn(
            samples, generator=generator
        )
        return cls.from_labels(inputs, scores > 0)

    @classmethod
    def from_table(cls, name: str) -> LogisticProblem:
        """Return the problem of a table that scikit-learn ships: its second class, odd digits, or above the median."""
        from sklearn import datasets

        table = getattr(datasets, f"load_{name}")()
        features, target = torch.tensor(table.data).float(), torch.tensor(table.target)
        features = (features - features.mean(0)) / features.std(0).clamp_min(1e-3)
        labels = target > target.double().median() if name == "diabetes" else target % 2 == 1
        return cls.from_labels(features / math.sqrt(features.shape[1]), labels)

    def measure_loss(self, weights: Tensor) -> Tensor:
        """Return the loss over all samples of weights `(..., features)`, in float64."""
        weights = weights.double()
        loss = softplus(-weights @ self.signed.double().T).mean(-1)
        return loss + RIDGE * weights.square().sum(-1) / 2

    def find_minimum(self) -> float:
        """Return the smallest loss, by Newton's method."""
        rows = self.signed.double()
        weights = torch.zeros(rows.shape[1], dtype=torch.float64)
        for _ in range(NEWTON_STEPS):
            chances = torch.sigmoid(-rows @ weights)
            gradient = -(chances[:, None] * rows).mean(0) + RIDGE * weights
            curvature = (rows.T * (chances * (1 - chances))) @ rows / len(rows)
            weights = weights - torch.linalg.solve(curvature + RIDGE * torch.eye(len(weights)), gradient)
        return float(self.measure_loss(weights))

    def stochastic_gradient(self, weights: Tensor, batch: Tensor) -> Tensor:
        """Return gradients `(..., seeds, features)` of weights, for the batch of every seed, `(seeds, BATCH)`."""
        rows = self.signed[batch]
        chances = torch.sigmoid(-torch.einsum("sbf,...sf->...sb", rows, weights))
        return RIDGE * weights - torch.einsum("sbf,...sb->...sf", rows, chances) / batch.shape[1]


@dataclass(frozen=True)
class LogisticRuns:
    """What runs of several rates came to.

    Attributes:
        excess: loss above the smallest, `(checkpoints, rates, seeds)`.
        norms: of stochastic gradients, `(steps, rates, seeds)`.
    """

    excess: Tensor
    norms: Tensor

    @property
    def best_rate(self) -> int:
        """The index of the rate whose runs end lowest, in the mean over seeds."""
        means = self.excess[-1].mean(-1)
        return int(torch.where(torch.isfinite(means), means, torch.inf).argmin())


@torch.no_grad()
def run_logistic(
    problem: LogisticProblem,
    rates: Sequence[float],
    seeds: int,
    steps: int,
    *,
    make: MakeOptimizer = torch.optim.SGD,
    schedule: Schedule = lambda step: 1.0,
    checkpoints: Sequence[int] = (),
) -> LogisticRuns:
    """Train by an optimiser and a schedule; all rates meet the same batches, which belong to seed and step."""
    weights = [torch.zeros(seeds, problem.signed.shape[1]) for _ in rates]
    optimizer = make([{"params": [tensor], "lr": rate} for tensor, rate in zip(weights, rates, strict=True)])
    scheduler = LambdaLR(optimizer, schedule)
    generator = torch.Generator().manual_seed(1)
    batches = torch.randint(len(problem.signed), (steps, seeds, BATCH), generator=generator)
    excess, norms = [], []
    stops = {*checkpoints, steps}
    for step, batch in enumerate(batches):
        gradients = problem.stochastic_gradient(torch.stack(weights), batch)
        norms.append(gradients.norm(dim=-1))
        for tensor, gradient in zip(weights, gradients, strict=True):
            tensor.grad = gradient
        optimizer.step()
        scheduler.step()
        if step + 1 in stops:
            excess.append(_measure_average(problem, optimizer, weights))
    return LogisticRuns(torch.stack(excess) - problem.find_minimum(), torch.stack(norms))


def _measure_average(problem: LogisticProblem, optimizer: Optimizer, weights: Sequence[Tensor]) -> Tensor:
    """Return the losses `(rates, seeds)`, of the average where the optimiser has one."""
    if not isinstance(optimizer, ScheduleFree):
        return problem.measure_loss(torch.stack(list(weights)))
    with optimizer.averaged():
        return problem.measure_loss(torch.stack(list(weights)))


def linear_to(steps: int) -> Callable[[int], float]:
    """Return the linear decay that ends after some steps."""
    return lambda step: max(0.0, 1 - step / steps)


def cosine_to(steps: int) -> Callable[[int], float]:
    """Return the half cosine that ends after some steps."""
    return lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2


def steps_to(steps: int) -> Schedule:
    """Return a rate that falls to a tenth at half of the steps, and again at three quarters."""
    return lambda step: 0.1 ** ((step >= steps / 2) + (step >= 3 * steps / 4))
