"""A clock that moves only inside `evaluate`, by what a call of its width costs, and processes to run on it.

What `Auto` loses on it is a figure of its decisions alone, the same on every machine: the engine's own time stands
still, and a call of `W` steps takes `c(W)`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun import Affine, Process
from forerun.diffusion.denoising import Denoising
from forerun.engine.backends import Local
from forerun.engine.backends.base import RowFunction, SecondsReader, TimingReader
from forerun.engine.numerics.tree import Tree
from forerun.engine.rounds import RoundTiming
from forerun.worlds.digits import load_digits_denoiser

Profile = Callable[[int], float]  # seconds of a call by its width; 1 for a single step
Problem = tuple[Process, Tree, float]  # a process, its first state, and a tolerance


def on_lines(points: Mapping[int, float]) -> Profile:
    """A cost that was measured at some widths, on lines between them and beyond."""
    widths = sorted(points)

    def price(width: int) -> float:
        place = min(max(bisect_left(widths, width), 1), len(widths) - 1)
        left, right = widths[place - 1], widths[place]
        return points[left] + (points[right] - points[left]) * (width - left) / (right - left)

    return price


PROFILES: dict[str, Profile] = {
    "free": lambda width: 1.0,
    "linear": float,
    "half": lambda width: 1 + (width - 1) / 2,
    "quarter": lambda width: 1 + (width - 1) / 4,
    "free to 8": lambda width: max(1.0, width / 8),
    # the shipped UNet on one thread, `one_device_does_not_lose.py`
    "CPU UNet": on_lines({1: 1.0, 2: 1.32, 4: 2.2, 8: 3.98, 16: 8.0, 32: 14.8, 64: 23.2}),
    # the same on two threads that take slices (`Threads(2)`)
    "CPU threads": on_lines({1: 1.0, 2: 1.05, 4: 1.35, 8: 2.14, 16: 3.63, 32: 6.7, 64: 12.6, 128: 25.5}),
    # assumed, as no GPU was there: a call is bound by its launches up to 4 rows, then by arithmetic
    "GPU UNet": on_lines({1: 1.0, 2: 1.05, 4: 1.3, 8: 2.2, 16: 4.1, 32: 7.9, 64: 15.5}),
}


class VirtualClock:
    """Seconds that pass only in calls of `evaluate`."""

    def __init__(self, price: Profile) -> None:
        self.price = price
        self.seconds = 0.0
        self.widths: list[int] = []  # of the calls so far

    def pass_call(self, width: int) -> None:
        """Let the time of one call pass."""
        self.seconds += self.price(width)
        self.widths.append(width)


class ClockedProcess(Process):
    """A process whose evaluations move a clock."""

    def __init__(self, process: Process, clock: VirtualClock) -> None:
        self.length, self.batch_dims = process.length, process.batch_dims
        self._process, self._clock = process, clock

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        self._clock.pass_call(len(steps))
        return self._process.evaluate(steps, inputs)

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        return self._process.advance(step, state, output)

    def observe(self, state: Tree) -> Tree:
        return self._process.observe(state)

    def affine(self, steps: Tensor) -> Affine | None:
        return self._process.affine(steps)


@dataclass(frozen=True)
class ClockedBackend(Local):
    """The backend whose rounds take the time of a virtual clock, and nothing else."""

    clock: VirtualClock | None = None

    def evaluate(
        self, call: RowFunction, steps: Tensor, inputs: Tensor, overhead: float
    ) -> tuple[Tensor, TimingReader]:
        assert self.clock is not None
        begun = self.clock.seconds
        outputs = self.evaluate_slices(call, steps, inputs)
        timing = RoundTiming(evaluate=self.clock.seconds - begun)
        return outputs, lambda: timing

    def start_walk(self, device: torch.device) -> Callable[[], SecondsReader] | None:
        assert self.clock is not None
        clock, begun = self.clock, self.clock.seconds

        def stop() -> SecondsReader:
            seconds = clock.seconds - begun
            return lambda: seconds

        return stop


def digits_sampler(length: int, eta: float) -> Problem:
    """DDIM or DDPM with the shipped denoiser of digits, two samples."""
    denoiser = load_digits_denoiser().double().requires_grad_(False)
    noise = torch.randn(length, 2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    process = Denoising(denoiser, denoiser.schedule.spaced(length), eta=eta, noise=noise.__getitem__)
    return process, torch.randn(2, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64), 1e-3


def policy_chunk(length: int) -> Problem:
    """A small random network that denoises a chunk of actions, by DDIM: smooth, as policies are."""
    generator = torch.Generator().manual_seed(2)
    first = torch.randn(64, 128, generator=generator, dtype=torch.float64) / 8
    second = torch.randn(128, 64, generator=generator, dtype=torch.float64) / 11

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(torch.tanh(x @ first) @ second)

    schedule = load_digits_denoiser().schedule.spaced(length)
    return Denoising(denoise, schedule), torch.randn(1, 64, generator=generator, dtype=torch.float64), 3e-3


def recurrent_cell(length: int) -> Problem:
    """A tanh network with independent inputs: outputs are not smooth along the path."""
    generator = torch.Generator().manual_seed(0)
    weight = 0.9 * torch.randn(16, 16, generator=generator, dtype=torch.float64) / 4
    drive = torch.randn(length, 16, generator=generator, dtype=torch.float64)
    process = Process.from_step(lambda i, h: torch.tanh(h @ weight + drive[i]), length, batched=True)
    return process, torch.zeros(16, dtype=torch.float64), 1e-3


def lorenz_path(length: int) -> Problem:
    """Lorenz's equations by Euler steps: chaotic, over a time in which an error grows a hundredfold."""

    def derivative(i: Tensor, state: Tensor) -> Tensor:
        x, y, z = state.unbind(-1)
        return state + 0.01 * torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], -1)

    process = Process.from_step(derivative, length, batched=True, increment=True)
    return process, torch.tensor([1.0, 1.0, 20.0], dtype=torch.float64), 1e-3


def optimiser_loop(length: int) -> Problem:
    """Stochastic gradient descent on a logistic regression, a batch of its own for every step."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(length, 32, 20, generator=generator, dtype=torch.float64)
    labels = (data @ torch.randn(20, generator=generator, dtype=torch.float64) > 0).double()

    def update(i: Tensor, weight: Tensor) -> Tensor:
        rows = data[i]
        wrong = torch.sigmoid((rows @ weight.unsqueeze(-1)).squeeze(-1)) - labels[i]
        return weight - 0.1 * (rows * wrong.unsqueeze(-1)).mean(1)

    process = Process.from_step(update, length, batched=True, increment=True)
    return process, torch.zeros(20, dtype=torch.float64), 1e-3


PROCESSES: dict[str, Callable[[], Problem]] = {
    "DDIM 20": lambda: digits_sampler(20, 0.0),
    "DDIM 50": lambda: digits_sampler(50, 0.0),
    "DDIM 100": lambda: digits_sampler(100, 0.0),
    "DDPM 100": lambda: digits_sampler(100, 1.0),
    "DDPM 400": lambda: digits_sampler(400, 1.0),
    "DDPM 1000": lambda: digits_sampler(1000, 1.0),
    "policy 100": lambda: policy_chunk(100),
    "RNN 300": lambda: recurrent_cell(300),
    "Lorenz 300": lambda: lorenz_path(300),
    "SGD 300": lambda: optimiser_loop(300),
}
