"""DEER (Lim et al., arXiv 2309.12252) in JAX for torch's GRU and LSTM: our own statement, for the benchmarks.

Newton on the whole path with dense Jacobians, every step of it one associative scan of affine maps, until no element
moves by more than 1e-5; the gradient by one more scan at the solution. Compiled, on one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

MOVES, MOST = 1e-5, 100  # of an element, and rounds


def cell(weights: Any, h: Any, x: Any) -> Any:
    """One step of one sample, as `torch.nn.GRUCell` has it."""
    w, u, b, c = weights
    (ar, az, an), (ur, uz, un) = (jnp.split(each, 3) for each in (w @ x + b, u @ h + c))
    r, z = jax.nn.sigmoid(ar + ur), jax.nn.sigmoid(az + uz)
    n = jnp.tanh(an + r * un)
    return n + z * (h - n)


def lstm_cell(weights: Any, state: Any, x: Any) -> Any:
    """One step of one sample, as `torch.nn.LSTMCell` has it, on a row `(h, c)`."""
    w, u, b, c = weights
    h, memory = jnp.split(state, 2)
    i, f, g, o = jnp.split(w @ x + b + u @ h + c, 4)
    memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(memory), memory])


def step_cell(weights: Any, state: Any, x: Any) -> Any:
    """One step of the cell that has these weights: an LSTM has four gates."""
    gates = len(weights[1]) // weights[1].shape[1]
    return (lstm_cell if gates == 4 else cell)(weights, state, x)


steps = jax.vmap(jax.vmap(step_cell, (None, 0, 0)), (None, 0, 0))
slopes = jax.vmap(jax.vmap(jax.jacfwd(step_cell, 1), (None, 0, 0)), (None, 0, 0))


def scanned(J: Any, shift: Any) -> Any:
    """The path of `x <- J x + shift` from zero, `(T, B, D)`."""

    def compose(first: Any, second: Any) -> Any:
        (a, b), (c, d) = first, second
        return c @ a, (c @ b[..., None])[..., 0] + d

    return jax.lax.associative_scan(compose, (J, shift))[1]


def before(path: Any) -> Any:
    """The states before each step; the first is zero."""
    return jnp.concatenate([jnp.zeros_like(path[:1]), path[:-1]])


def newton(weights: Any, xs: Any, path: Any) -> Any:
    """One round."""
    h = before(path)
    J = slopes(weights, h, xs)
    return scanned(J, steps(weights, h, xs) - (J @ h[..., None])[..., 0])


def solved(weights: Any, xs: Any) -> Any:
    """All rounds."""

    def step(state: Any) -> Any:
        path = newton(weights, xs, state[0])
        return path, jnp.abs(path - state[0]).max(), state[2] + 1

    width = weights[1].shape[1]
    states = 2 if len(weights[1]) == 4 * width else 1
    start = jnp.zeros((*xs.shape[:2], states * width))
    return jax.lax.while_loop(lambda state: (state[1] > MOVES) & (state[2] < MOST), step, (start, jnp.inf, 0))[0]


def loss(weights: Any, xs: Any) -> Any:
    """The mean square of all states, and the states: differentiable by one scan at the solution."""
    path = jax.lax.stop_gradient(solved(weights, xs))
    h = before(path)
    J = jax.lax.stop_gradient(slopes(weights, h, xs))
    states = path + scanned(J, steps(weights, h, xs) - path)
    states = states[..., : weights[1].shape[1]]
    return (states**2).mean(), states


class Deer:
    """A GRU or LSTM of torch, by its weights, on inputs `(T, B, I)`."""

    def __init__(self, weights: Sequence[Tensor], xs: Tensor) -> None:
        self._arguments = tuple(jnp.asarray(each.detach().numpy()) for each in weights), jnp.asarray(xs.numpy())
        self._both = jax.jit(jax.grad(loss, has_aux=True))

    def gradients(self) -> Any:
        """Forward and gradient, waited for."""
        return jax.block_until_ready(self._both(*self._arguments))

    def states(self) -> Tensor:
        """`(T, B, D)`."""
        return torch.from_numpy(jax.device_get(self.gradients()[1]).copy())
