"""Maps with known limits, on which every method is tried; and those on which acceleration hurts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun import Map

DOUBLE = torch.float64


@dataclass(frozen=True)
class KnownMap:
    """A map, its first state, and its limit."""

    map: Map
    x0: Tensor
    limit: Tensor


def normal(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(dtype)


def linear(dtype=DOUBLE, *, radius=0.9, size=30, batch=(), symmetric=True):
    """An affine map whose matrix has a given spectral radius."""
    A = normal(*batch, size, size, dtype=DOUBLE)
    A = A + A.mT if symmetric else A
    A = radius * A / torch.linalg.eigvals(A).abs().amax(-1)[..., None, None]
    b = normal(*batch, size, seed=1)
    limit = torch.linalg.solve(torch.eye(size, dtype=DOUBLE) - A, b)
    A, b = A.to(dtype), b.to(dtype)
    user_map = Map.from_function(lambda x: (A @ x.unsqueeze(-1)).squeeze(-1) + b, batch_dims=len(batch))
    return KnownMap(user_map, torch.zeros_like(b), limit)


def value_iteration(dtype=DOUBLE, *, states=60, discount=0.9):
    """The Bellman operator of a random decision process, which is not smooth; solved by policy iteration."""
    P = normal(states, 4, states).abs() ** 4
    P = P / P.sum(-1, keepdim=True)
    reward = normal(states, 4, seed=1)
    policy = torch.zeros(states, dtype=torch.int64)
    for _ in range(50):
        rows = torch.arange(states)
        eye = torch.eye(states, dtype=DOUBLE)
        value = torch.linalg.solve(eye - discount * P[rows, policy], reward[rows, policy])
        policy = (reward + discount * P @ value).argmax(1)
    P, reward = P.to(dtype), reward.to(dtype)
    user_map = Map.from_function(lambda v: (reward + discount * P @ v).amax(1))
    return KnownMap(user_map, torch.zeros(states, dtype=dtype), value)


def cosine(dtype=DOUBLE):
    """A map of one number, whose limit is the Dottie number."""
    return KnownMap(Map.from_function(torch.cos), torch.tensor(1.0, dtype=dtype), torch.tensor(0.7390851332151607))


def tanh_layer(dtype=DOUBLE, *, size=20):
    """An equilibrium layer; its limit by Newton's method in float64."""
    W = normal(size, size)
    W = 0.9 * W / torch.linalg.matrix_norm(W, 2)
    b = normal(size, seed=1)
    x = torch.zeros(size, dtype=DOUBLE)
    for _ in range(50):
        value = torch.tanh(W @ x + b)
        jacobian = (1 - value**2)[:, None] * W
        x = x + torch.linalg.solve(torch.eye(size, dtype=DOUBLE) - jacobian, value - x)
    W, b = W.to(dtype), b.to(dtype)
    return KnownMap(Map.from_function(lambda x: torch.tanh(W @ x + b)), torch.zeros(size, dtype=dtype), x)


def tree_map_problem(dtype=DOUBLE):
    """A map of a dictionary with a plain value in it."""

    def evaluate(state):
        return {"a": 0.5 * state["b"].sum() + 1, "b": 0.1 * state["a"] + 0.2 * state["b"], "unit": "m"}

    x0 = {"a": torch.zeros((), dtype=dtype), "b": torch.zeros(3, dtype=dtype), "unit": "m"}
    a = 1 / (1 - 0.5 * 3 * 0.1 / 0.8)
    limit = {"a": torch.tensor(a, dtype=DOUBLE), "b": torch.full((3,), 0.1 * a / 0.8, dtype=DOUBLE)}
    return KnownMap(Map.from_function(evaluate), x0, limit)


MAPS: dict[str, Callable[..., KnownMap]] = {
    "linear": linear,
    "unsymmetric": lambda dtype: linear(dtype, symmetric=False),
    "batch": lambda dtype: linear(dtype, batch=(3, 2), size=8),
    "barely contractive": lambda dtype: linear(dtype, radius=0.99, size=10),
    "value iteration": value_iteration,
    "cosine": cosine,
    "tanh layer": tanh_layer,
    "tree": tree_map_problem,
}


def template(dtype=DOUBLE, *, signals=400, length=32):
    """The mean of noisy signals, each shifted to where it fits best: piecewise constant, and monotone in its merit."""
    shape = torch.zeros(length, dtype=DOUBLE)
    shape[length // 3 : length // 2] = 1
    shifts = torch.randint(length, (signals,), generator=torch.Generator().manual_seed(0))
    Y = torch.stack([shape.roll(int(shift)) for shift in shifts]) + normal(signals, length)
    Y = Y.to(dtype)
    spectra = torch.fft.rfft(Y)
    indices = torch.arange(length)

    def correlate(mean):
        return torch.fft.irfft(spectra * torch.fft.rfft(mean).conj(), length)

    def evaluate(mean):
        shift = correlate(mean).argmax(1, keepdim=True)
        return Y.gather(1, (indices + shift) % length).mean(0)

    def merit(mean):
        return (mean**2).sum() - 2 * correlate(mean).amax(1).mean()

    return KnownMap(Map.from_function(evaluate, merit=merit), Y[0], torch.zeros(length))
