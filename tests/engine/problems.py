"""Small problems that every method must solve as `Sequential` does."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun import Absolute, Process, Sliding
from forerun.diffusion import Denoising, Schedule
from forerun.engine.numerics.tree import Tree, tree_tensors

DOUBLE = torch.float64
TIGHT = {"window": Sliding(6), "tolerance": Absolute(1e-11)}


def same(one: Tree, other: Tree, atol: float = 1e-8) -> None:
    """Whether the tensors of two trees are equal to `atol`."""
    for a, b in zip(tree_tensors(one), tree_tensors(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


def contractive() -> tuple[Process, Tree]:
    """A tanh network with inputs, a batch of three; the output is the next state."""
    generator = torch.Generator().manual_seed(0)
    weight = 0.8 * torch.randn(5, 5, generator=generator, dtype=DOUBLE) / 5**0.5
    drive = torch.randn(24, 1, 5, generator=generator, dtype=DOUBLE)
    state = torch.randn(3, 5, generator=generator, dtype=DOUBLE)

    def cell(steps: Tensor, hidden: Tensor) -> Tensor:
        return torch.tanh(hidden @ weight + drive[steps])

    return Process.from_step(cell, 24, batched=True, batch_dims=1), state


def increments() -> tuple[Process, Tree]:
    """An Euler path, without a batch, mapped by vmap."""
    return (
        Process.from_step(lambda i, x: x + 0.1 * torch.sin(x + 0.2 * i), 20, increment=True),
        torch.linspace(-1, 2, 7, dtype=DOUBLE),
    )


def sampler() -> tuple[Process, Tree]:
    """DDPM with a smooth denoiser and noise; one sample of the batch is much harder than the other."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(20, 2, 4, generator=generator, dtype=DOUBLE)
    hard = torch.tensor([[0.3], [6.0]], dtype=DOUBLE)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x * hard.repeat(len(x) // 2, 1))

    process = Denoising(denoise, Schedule.linear().spaced(20), eta=1.0, noise=noise.__getitem__)
    return process, torch.randn(2, 4, generator=generator, dtype=DOUBLE)


class Momentum(Process):
    """Gradient descent with momentum: a state of tensors and plain values, a part of which is the input."""

    length = 18

    def observe(self, state: Tree) -> Tree:
        return state["x"]

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return torch.sin(inputs) + 0.05 * steps.to(inputs).unsqueeze(-1)

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        assert state["count"] == step
        velocity = 0.8 * state["v"] - 0.1 * output
        return {"x": state["x"] + velocity, "v": velocity, "count": step + 1, "name": state["name"]}


def momentum() -> tuple[Process, Tree]:
    """See `Momentum`."""
    x = torch.linspace(-2, 2, 6, dtype=DOUBLE)
    return Momentum(), {"x": x, "v": torch.zeros_like(x), "count": 0, "name": "ball"}


class Pair(Process):
    """Inputs and outputs that are trees, in order (no closed form), and outputs wider than inputs."""

    length = 16

    def observe(self, state: Tree) -> Tree:
        return (state[0], {"b": state[1]})

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        a, b = inputs[0], inputs[1]["b"]
        return [torch.cos(a) + b.sum(-1, keepdim=True), torch.sin(b), a * 0.5]

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        one, two, three = output
        return (0.7 * state[0] + 0.2 * one - 0.1 * three, 0.6 * state[1] + 0.1 * two, state[2] + 1)


def pair() -> tuple[Process, Tree]:
    """See `Pair`."""
    return Pair(), (torch.linspace(0, 1, 3, dtype=DOUBLE), torch.linspace(1, 2, 2, dtype=DOUBLE), 0)


def whole_numbers() -> tuple[Process, Tree]:
    """A state of integers: nothing is close, only equal."""
    process = Process.from_step(lambda i, x: (3 * x + i) % 17, 15, batched=False)
    return process, torch.tensor([1, 5, 11])


def lorenz(length: int, dtype: torch.dtype = DOUBLE) -> tuple[Process, Tensor]:
    """Lorenz' system by Runge-Kutta of order 4, whose increments are the outputs; a batch of two."""

    def slope(x: Tensor) -> Tensor:
        a, b, c = x.unbind(-1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)

    def step(_: Tensor, x: Tensor, h: float = 0.01) -> Tensor:
        k1 = slope(x)
        k2 = slope(x + h / 2 * k1)
        k3 = slope(x + h / 2 * k2)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3))

    state = torch.tensor([[1.0, 1.0, 20.0], [2.0, 3.0, 25.0]], dtype=dtype)
    return Process.from_step(step, length, batched=True, increment=True, batch_dims=1), state


PROBLEMS = {
    "contractive": contractive,
    "increments": increments,
    "sampler": sampler,
    "momentum": momentum,
    "pair": pair,
    "whole numbers": whole_numbers,
}
