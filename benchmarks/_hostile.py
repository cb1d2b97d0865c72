"""Hostile runs: small processes made to fool the check, with settings drawn at random; one a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun import (
    Absolute,
    Full,
    Hold,
    Known,
    Newton,
    Picard,
    Process,
    QuasiNewton,
    Relative,
    Secant,
    Sliding,
    Solution,
    solve,
)
from forerun.engine.baseline import iterate_plain_loop
from forerun.engine.check import Check
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.guesses import Copy, Extrapolate, Guess
from forerun.engine.methods import (
    Anderson,
    Elk,
    GaussSeidel,
    Jacobi,
    JacobiGaussSeidel,
    Method,
    Parareal,
    PicardGaussSeidel,
)
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.rounds import Round
from forerun.engine.tolerance import Tolerance
from forerun.engine.windows import EVERY_STEP, Auto, Density, Window

Family = Callable[[random.Random, torch.Generator, torch.dtype], tuple[Process, Tree]]
RESUMED_SHARE = 0.12  # of the runs, stopped on their way and resumed from the checkpoint
WITHOUT_MATRIX = {"unequal widths", "half precision", "hidden leaves"}  # families that Newton and Elk refuse
WIDTHS = (1, 2, 4, 8, 16, 17, 32, 64)


@dataclass(frozen=True)
class Declining(Window):
    """A window that is open up to a share of the path and takes the rest in order, as `Auto` does."""

    share: float

    def width(self, log: Any, length: int) -> int:
        entries: list[Round] = list(log)
        if entries and entries[-1].start + entries[-1].accepted >= self.share * length:
            return 0
        return 16


@dataclass(frozen=True)
class HostileRun:
    """One hostile run: what is solved and how.

    Attributes:
        seed: what everything was drawn from.
        family: name of the family.
        process: the process.
        state: its first state.
        options: method, window, guess and tolerance.
        resumed_at: the share of the path at which the run is stopped and resumed; None where it is not.
    """

    seed: int
    family: str
    process: Process
    state: Tree
    options: dict[str, Any]
    resumed_at: float | None

    @property
    def width(self) -> int:
        """Numbers in an input."""
        return int(self.process.observe(self.state).shape[-1])

    @property
    def tolerance(self) -> Tolerance:
        """How far the end may deviate."""
        tolerance: Tolerance = self.options["tolerance"]
        return tolerance

    @property
    def method(self) -> str:
        """Name of the method."""
        return type(self.options["method"]).__name__

    def solve(self, check: Check | bool = True) -> Solution:
        """Run it; a resumed one in two parts."""
        if self.resumed_at is None:
            return solve(self.process, self.state, check=check, throw=False, **self.options)
        stop = self.resumed_at * self.process.length
        part = solve(
            self.process,
            self.state,
            check=check,
            throw=False,
            callback=lambda event: event.step >= stop,
            **self.options,
        )
        place: Checkpoint = part.checkpoint
        rest = solve(self.process, self.state, check=check, throw=False, resume=place, **self.options)
        return replace(rest, log=[*part.log, *rest.log])

    def truth(self) -> list[Tree]:
        """The states `x_0 .. x_length` of the plain loop."""
        with torch.no_grad():
            return [self.state, *iterate_plain_loop(self.process, self.state)]

    def measure(self, state: Tree, truth: Tree) -> float:
        """Return the distance of an end from the true one, in the norm of the tolerance: of the leaf farthest off."""
        last = torch.tensor([self.process.length - 1])
        distances = []
        for leaf, true_leaf in zip(tree_tensors(state), tree_tensors(truth), strict=True):
            row = leaf.double().reshape(1, -1)
            moves = row - true_leaf.double().reshape(1, -1)
            distances.append(float(self.tolerance.norm(last, moves, row).nan_to_num(math.inf).max()))
        return max(distances)


def draw_run(seed: int) -> HostileRun:
    """Return the hostile run of a seed."""
    chance = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    family = chance.choice(list(FAMILIES))
    dtype = chance.choice((torch.float64, torch.float64, torch.float32))
    process, state = FAMILIES[family](chance, generator, dtype)
    size = chance.choice((1e-2, 1e-3, 1e-4, 1e-5))
    width = process.observe(state).shape[-1]
    method = _draw_method(chance, width, has_matrix=family not in WITHOUT_MATRIX)
    options = {
        "method": method,
        "window": _draw_window(chance),
        "tolerance": Relative(size) if chance.random() < 0.2 else Absolute(size),
        "guess": _draw_guess(chance, generator, process, state),
    }
    resumed_at = chance.uniform(0.2, 0.8) if chance.random() < RESUMED_SHARE else None
    return HostileRun(seed, family, process, state, options, resumed_at)


def _draw_method(chance: random.Random, width: int, *, has_matrix: bool) -> Method:
    methods: list[Method] = [Secant(), Secant(), Secant(), Picard(), Picard(), Anderson(Secant(), memory=3)]
    methods += [GaussSeidel(8), GaussSeidel(16, Secant()), Parareal(4), Jacobi()]
    methods += [JacobiGaussSeidel(4), PicardGaussSeidel(4)]
    if width <= 64:
        methods += [QuasiNewton()]
    if width <= 32 and has_matrix:
        methods += [Newton(), Elk()]
    return chance.choice(methods)


def _draw_window(chance: random.Random) -> Window:
    thin = Density(strides=(3, 6), min_dense=8)
    windows = (Full(), Full(EVERY_STEP), Full(thin), Sliding(8), Sliding(16), Sliding(32), Sliding(64, thin))
    return chance.choice((*windows, Declining(0.4), Auto()))


def _draw_guess(chance: random.Random, generator: torch.Generator, process: Process, state: Tree) -> Guess:
    """Return a guess; some are warm starts from the path of a slightly different first state."""
    if chance.random() < 0.75 or process.observe(state).dtype.itemsize < 4:
        return chance.choice((Hold(), Hold(), Copy(), Extrapolate()))
    size = chance.choice((1e-6, 1e-4, 1e-2))

    def shift(leaf: Tensor) -> Tensor:
        return leaf + size * torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)

    with torch.no_grad():
        path = [state, *iterate_plain_loop(process, pytree.tree_map(shift, state))]
    return Known(torch.stack([process.observe(entry) for entry in path[: process.length]]))


def _draw_length(chance: random.Random) -> int:
    return chance.choice((30, 60, 120, 200))


def _random_matrix(generator: torch.Generator, width: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(width, width, generator=generator, dtype=torch.float64).to(dtype) / math.sqrt(width)


def _random_state(generator: torch.Generator, width: int, dtype: torch.dtype, size: float = 1.0) -> Tensor:
    return size * torch.randn(width, generator=generator, dtype=torch.float64).to(dtype)


def _recurrent(
    chance: random.Random, generator: torch.Generator, dtype: torch.dtype, gain: float
) -> tuple[Process, Tensor]:
    """Return a tanh network with a gain on its weights; below one it contracts, well above it is chaotic."""
    width, length = chance.choice((8, 16, 32, 64)), _draw_length(chance)
    weight = gain * _random_matrix(generator, width, dtype)
    drive = 0.3 * torch.randn(length, width, generator=generator, dtype=torch.float64).to(dtype)
    process = Process.from_step(lambda i, x: torch.tanh(x @ weight.T + drive[i]), length, batched=True)
    return process, _random_state(generator, width, dtype)


def contractive(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A recurrent network that forgets."""
    return _recurrent(chance, generator, dtype, chance.uniform(0.5, 0.95))


def chaotic_network(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A recurrent network that amplifies whatever differs."""
    return _recurrent(chance, generator, dtype, chance.uniform(1.2, 2.2))


def leaky_chaos(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A leaky network on the edge of chaos."""
    width, length = chance.choice((16, 32, 64)), _draw_length(chance)
    weight = chance.uniform(1.2, 1.6) * _random_matrix(generator, width, dtype)
    step = lambda i, x: 0.7 * x + 0.3 * torch.tanh(x @ weight.T)  # noqa: E731
    return Process.from_step(step, length, batched=True), _random_state(generator, width, dtype)


def neutral(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A nonlinear rotation, in which errors add up."""
    width, length, size = chance.choice(WIDTHS[1:]), _draw_length(chance), chance.uniform(0.02, 0.2)
    matrix = _random_matrix(generator, width, dtype)
    turn = matrix - matrix.T
    step = lambda i, x: x + size * torch.tanh(x @ turn)  # noqa: E731
    return Process.from_step(step, length, batched=True, increment=True), _random_state(generator, width, dtype)


def expanding(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A linear map that amplifies by 10 to 100,000 along its path."""
    width, length = chance.choice(WIDTHS[1:]), _draw_length(chance)
    factor = 10 ** (chance.uniform(1, 5) / length)
    matrix = _random_matrix(generator, width, dtype)
    turn = factor * torch.linalg.matrix_exp(0.3 * (matrix - matrix.T))
    return Process.from_step(lambda i, x: x @ turn.T, length, batched=True), _random_state(generator, width, dtype, 0.1)


def saturating_growth(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Growth from a small seed to a plateau."""
    width, rate = chance.choice(WIDTHS), chance.uniform(0.1, 0.4)
    state = _random_state(generator, width, dtype, 10 ** chance.uniform(-8, -3))
    step = lambda i, x: x + rate * x * (1 - x * x)  # noqa: E731
    return Process.from_step(step, chance.choice((60, 120, 200)), increment=chance.random() < 0.7), state


def lorenz(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Euler steps of the Lorenz system."""
    size = chance.choice((0.002, 0.005, 0.01))

    def step(_: Tensor, x: Tensor) -> Tensor:
        a, b, c = x.unbind(-1)
        return x + size * torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)

    state = torch.tensor([1.0, 1.0, 20.0], dtype=dtype) + _random_state(generator, 3, dtype)
    return Process.from_step(step, _draw_length(chance), batched=True, increment=True), state


def stiff(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Relaxation with rates that span three decades, coupled."""
    width, length = chance.choice((4, 16, 32, 64)), _draw_length(chance)
    rates = torch.logspace(-3, 0, width, dtype=torch.float64).to(dtype) * 1.5
    weight = chance.uniform(0.1, 0.8) * _random_matrix(generator, width, dtype)
    step = lambda i, x: x + rates * (torch.tanh(x @ weight.T) - x)  # noqa: E731
    return Process.from_step(step, length, batched=True, increment=True), _random_state(generator, width, dtype)


def non_normal(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A chain that feeds each unit from the next: stable, after growing for a while."""
    width, length = chance.choice((4, 8, 17, 32)), _draw_length(chance)
    matrix = 0.8 * torch.eye(width, dtype=dtype) + chance.uniform(0.2, 0.6) * torch.eye(width, dtype=dtype).roll(
        1, 0
    ).triu(1)
    matrix[range(width - 1), range(1, width)] = chance.uniform(0.2, 0.6)
    step = lambda i, x: torch.tanh(x @ matrix.T)  # noqa: E731
    return Process.from_step(step, length, batched=True), _random_state(generator, width, dtype, 0.1)


def kicked(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A smooth path with a few steep steps."""
    width, length = chance.choice(WIDTHS), _draw_length(chance)
    weight = _random_matrix(generator, width, dtype)
    gains = torch.ones(length, dtype=dtype)
    for _ in range(chance.choice((1, 2))):
        gains[chance.randrange(length)] = chance.choice((10.0, 30.0, 100.0))
    step = lambda i, x: gains[i].unsqueeze(-1) * (x + 0.003 * torch.tanh(x @ weight.T))  # noqa: E731
    return Process.from_step(step, length, batched=True, increment=chance.random() < 0.5), _random_state(
        generator, width, dtype, 0.01
    )


def discontinuous(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A network of signs: its slope is zero wherever there is one."""
    width, length, size = chance.choice((4, 16, 32)), _draw_length(chance), chance.uniform(0.01, 0.1)
    weight = _random_matrix(generator, width, dtype)
    step = lambda i, x: 0.95 * x + size * torch.sign(x @ weight.T)  # noqa: E731
    return Process.from_step(step, length, batched=True), _random_state(generator, width, dtype)


def discrete(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """States that are rounded to a grid after every step."""
    width, length, grid = chance.choice((2, 8, 16)), _draw_length(chance), 10 ** chance.uniform(-4, -1)
    weight = 1.3 * _random_matrix(generator, width, dtype)
    step = lambda i, x: torch.round((0.8 * x + 0.3 * torch.tanh(x @ weight.T)) / grid) * grid  # noqa: E731
    return Process.from_step(step, length, batched=True), _random_state(generator, width, dtype)


def wrapped(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Angles that turn at a rate of their own and wrap around."""
    width, length = chance.choice((1, 2, 8)), _draw_length(chance)
    rates = chance.uniform(0.01, 0.3) * torch.rand(width, generator=generator, dtype=torch.float64).to(dtype)
    step = lambda i, x: torch.remainder(x + rates + 0.05 * torch.sin(6.28318 * x), 1.0)  # noqa: E731
    return Process.from_step(step, length, batched=True), torch.rand(width, generator=generator, dtype=dtype)


def plateaus(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Flat stretches with steep edges: slow, then all at once."""
    width, length, edge = chance.choice(WIDTHS), _draw_length(chance), chance.uniform(5, 30)
    step = lambda i, x: x + 0.02 + 0.2 * torch.sigmoid(edge * torch.sin(3 * x))  # noqa: E731
    return Process.from_step(step, length, increment=True), _random_state(generator, width, dtype)


def two_phases(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Easy steps, then rotations that amplify."""
    width, length = chance.choice((8, 32)), chance.choice((60, 120))
    weight = _random_matrix(generator, width, dtype)
    gaussian = torch.randn(length, width, width, generator=generator, dtype=torch.float64)
    turns = torch.linalg.qr(gaussian)[0].to(dtype) * chance.uniform(1.02, 1.12)

    def step(i: Tensor, x: Tensor) -> Tensor:
        easy = x + 0.02 * torch.tanh(x @ weight.T)
        hard = (turns[i] @ x.unsqueeze(-1)).squeeze(-1)
        return torch.where((i < length // 2).unsqueeze(-1), easy, hard)

    return Process.from_step(step, length, batched=True), _random_state(generator, width, dtype)


class UnequalWidths(Process):
    """A force of fewer components than the state."""

    def __init__(self, weight: Tensor, effect: Tensor, length: int) -> None:
        self.length = length
        self._weight = weight
        self._effect = effect

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return torch.tanh(inputs @ self._weight.T)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return state + self._effect @ output


def unequal_widths(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """Outputs of another width than the inputs."""
    width, force = chance.choice((2, 8, 16)), chance.choice((1, 3))
    weight = torch.randn(force, width, generator=generator, dtype=torch.float64).to(dtype) / math.sqrt(width)
    effect = chance.uniform(0.02, 0.2) * torch.randn(width, force, generator=generator, dtype=torch.float64).to(dtype)
    process = UnequalWidths(weight, effect, _draw_length(chance))
    return process, _random_state(generator, width, dtype, 10 ** chance.uniform(-3, 0))


def half_precision(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A flow whose states are rounded to half precision after every step."""
    width, length = chance.choice((8, 32)), _draw_length(chance)
    half = chance.choice((torch.bfloat16, torch.float16))
    weight, size = _random_matrix(generator, width, torch.float32), chance.uniform(0.02, 0.1)

    def step(_: Tensor, x: Tensor) -> Tensor:
        return x + (size * torch.tanh(x.float() @ weight.T)).to(x.dtype)

    process = Process.from_step(step, length, batched=True, increment=chance.random() < 0.5)
    return process, _random_state(generator, width, torch.float32).to(half)


def wide_rows(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tensor]:
    """A network of a few units that drives rows of more than a thousand elements, which turn or forget."""
    width, units, length = chance.choice((1100, 2048)), 8, chance.choice((30, 60))
    reads = torch.randn(units, width, generator=generator, dtype=torch.float64).to(dtype) / math.sqrt(width)
    writes = torch.randn(width, units, generator=generator, dtype=torch.float64).to(dtype)
    decay, size = chance.choice((0.9, 1.0, 1.02)), chance.uniform(0.02, 0.3)
    step = lambda i, x: decay * x + size * torch.tanh(2 * x @ reads.T) @ writes.T  # noqa: E731
    return Process.from_step(step, length, batched=True), _random_state(generator, width, dtype)


class HiddenLeaves(Process):
    """A network with a sum and a trace of its states beside it, which `observe` does not show."""

    def __init__(self, weight: Tensor, scale: float, growth: float, length: int) -> None:
        self.length = length
        self._weight = weight
        self._scale = scale
        self._growth = growth

    def observe(self, state: Tree) -> Tensor:
        units: Tensor = state["units"]
        return units

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        return torch.tanh(inputs @ self._weight.T)

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        return {
            "units": 0.9 * state["units"] + 0.1 * output,
            "sum": state["sum"] + self._scale * state["units"].square(),
            "trace": self._growth * state["trace"] + output,
        }


def hidden_leaves(chance: random.Random, generator: torch.Generator, dtype: torch.dtype) -> tuple[Process, Tree]:
    """Leaves of the state that are not observed: what they gather counts as well."""
    width, length = chance.choice((4, 16, 32)), _draw_length(chance)
    weight = chance.uniform(0.8, 2.5) * _random_matrix(generator, width, dtype)
    process = HiddenLeaves(weight, 10 ** chance.uniform(-1, 2), chance.choice((0.9, 1.0, 1.03)), length)
    units = _random_state(generator, width, dtype)
    return process, {"units": units, "sum": torch.zeros_like(units), "trace": torch.zeros_like(units)}


FAMILIES: dict[str, Family] = {
    "contractive": contractive,
    "chaotic network": chaotic_network,
    "leaky chaos": leaky_chaos,
    "neutral": neutral,
    "expanding": expanding,
    "saturating growth": saturating_growth,
    "Lorenz": lorenz,
    "stiff": stiff,
    "non-normal": non_normal,
    "kicked": kicked,
    "discontinuous": discontinuous,
    "discrete": discrete,
    "wrapped": wrapped,
    "plateaus": plateaus,
    "two phases": two_phases,
    "unequal widths": unequal_widths,
    "half precision": half_precision,
    "wide rows": wide_rows,
    "hidden leaves": hidden_leaves,
}
