"""Maps whose limits are wanted, of several fields: small enough to be run by every rival, and each with a first state.

They are functions of float64 tensors; nothing in them is taken from a library of solvers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

torch.set_default_dtype(torch.float64)


@dataclass(frozen=True)
class LimitTask:
    """A map and its first state."""

    evaluate: Callable[[Tensor], Tensor]
    x0: Tensor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def value_iteration(states: int = 500, actions: int = 4, discount: float = 0.99) -> LimitTask:
    """The Bellman operator of a random decision process."""
    P = torch.rand(states, actions, states, generator=seeded()) ** 8
    P /= P.sum(-1, keepdim=True)
    reward = torch.rand(states, actions, generator=seeded(1))
    return LimitTask(lambda v: (reward + discount * P @ v).amax(1), torch.zeros(states))


def self_consistent_field(points: int = 64, electrons: int = 4, coupling: float = 8.0) -> LimitTask:
    """The density of electrons in a well, each in the mean field of all (Hartree, one dimension, softened)."""
    x = torch.linspace(-6, 6, points)
    h = float(x[1] - x[0])
    kinetic = (torch.eye(points) - 0.5 * torch.diag(torch.ones(points - 1), 1) * 1.0) / h**2
    kinetic = 0.5 * (kinetic + kinetic.T)
    kernel = coupling / torch.sqrt((x[:, None] - x[None, :]) ** 2 + 1)

    def evaluate(density: Tensor) -> Tensor:
        potential = 0.5 * x**2 + h * kernel @ density
        _, orbitals = torch.linalg.eigh(kinetic + torch.diag(potential))
        return 2 * (orbitals[:, : electrons // 2] ** 2).sum(1) / h

    start = torch.exp(-(x**2))
    return LimitTask(evaluate, electrons * start / (start.sum() * h))


def rankings(players: int = 200, games: int = 5000) -> LimitTask:
    """Newman's iteration for Bradley-Terry strengths with his prior, in logarithms, all players at once."""
    strength = torch.randn(players, generator=seeded()) * 1.5
    pairs = torch.randint(players, (games, 2), generator=seeded(1))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    chance = torch.sigmoid(strength[pairs[:, 0]] - strength[pairs[:, 1]])
    won = torch.rand(len(pairs), generator=seeded(2)) < chance
    winners = torch.where(won, pairs[:, 0], pairs[:, 1])
    losers = torch.where(won, pairs[:, 1], pairs[:, 0])

    def evaluate(theta: Tensor) -> Tensor:
        gains = torch.sigmoid(theta[losers] - theta[winners])  # pi_j / (pi_i + pi_j)
        above = torch.zeros(players).index_add(0, winners, gains) + torch.sigmoid(-theta)
        # 1 / (pi_i + pi_j), for the loser i, as exp(-theta_j) pi_j / (pi_i + pi_j)
        below = torch.zeros(players).index_add(0, losers, torch.sigmoid(theta[winners] - theta[losers])
                                               * torch.exp(-theta[winners])) + torch.sigmoid(-theta)  # fmt: skip
        return torch.log(above) - torch.log(below)

    return LimitTask(evaluate, torch.zeros(players))


def bratu(width: int = 24, rate: float = 6.0) -> LimitTask:
    """Bratu's equation on the unit square, `-u'' = rate exp(u)`, as Picard's iteration with the Laplacian inverted."""
    h = 1 / (width + 1)
    line = (2 * torch.eye(width) - torch.diag(torch.ones(width - 1), 1) - torch.diag(torch.ones(width - 1), -1)) / h**2
    values, vectors = torch.linalg.eigh(line)
    inverse = 1 / (values[:, None] + values[None, :])

    def evaluate(u: Tensor) -> Tensor:
        right = rate * torch.exp(u.reshape(width, width))
        return (vectors @ ((vectors.T @ right @ vectors) * inverse) @ vectors.T).reshape(-1)

    return LimitTask(evaluate, torch.zeros(width * width))


def equilibrium_layer(size: int = 64, batch: int = 8) -> LimitTask:
    """A layer `tanh(W z + x)` of spectral norm 0.98, all inputs of a batch in one state."""
    W = torch.randn(size, size, generator=seeded())
    W = 0.98 * W / torch.linalg.matrix_norm(W, 2)
    x = 0.2 * torch.randn(batch, size, generator=seeded(1))
    return LimitTask(lambda z: torch.tanh(z.reshape(batch, size) @ W.T + x).reshape(-1), torch.zeros(batch * size))


def mixture(samples: int = 2000) -> LimitTask:
    """EM of two overlapping Gaussians: the logit of the weight, means, logarithms of deviations."""
    first = torch.rand(samples, generator=seeded()) < 0.4
    y = torch.where(first, -1.0, 1.0) + torch.randn(samples, generator=seeded(1))

    def evaluate(theta: Tensor) -> Tensor:
        weight = torch.stack([torch.nn.functional.logsigmoid(theta[0]), torch.nn.functional.logsigmoid(-theta[0])])
        mean, log_deviation = theta[1:3], theta[3:5]
        scores = weight - log_deviation - 0.5 * ((y[:, None] - mean) / log_deviation.exp()) ** 2
        share = torch.softmax(scores, 1)
        total = share.sum(0)
        mean = (share * y[:, None]).sum(0) / total
        deviation = ((share * (y[:, None] - mean) ** 2).sum(0) / total).sqrt()
        return torch.cat([(total[0] / total[1]).log()[None], mean, deviation.log()])

    return LimitTask(evaluate, torch.tensor([0.0, -0.5, 0.5, 0.0, 0.0]))


def sinkhorn(size: int = 100, temperature: float = 0.01) -> LimitTask:
    """Entropic transport between two clouds: the potentials of one side, in units of the temperature."""
    a, b = torch.rand(size, 2, generator=seeded()), torch.rand(size, 2, generator=seeded(1)) ** 2
    K = -(torch.cdist(a, b) ** 2) / temperature

    def evaluate(f: Tensor) -> Tensor:
        g = -torch.logsumexp(K + f[:, None], 0)
        f = -torch.logsumexp(K + g[None, :], 1)
        return f - f.mean()

    return LimitTask(evaluate, torch.zeros(size))


TASKS: dict[str, Callable[[], LimitTask]] = {
    "value iteration, 500 states, 0.99": value_iteration,
    "self-consistent field": self_consistent_field,
    "rankings, 200 players": rankings,
    "Bratu, 24 x 24": bratu,
    "equilibrium layer": equilibrium_layer,
    "EM of a mixture": mixture,
    "Sinkhorn, 100 x 100": sinkhorn,
}
