"""Noise as a function of the step, so that a step that is evaluated again meets the same noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree

REMEMBERED_DRAWS: Final = 1024
SNAPSHOT_STRIDE: Final = 32  # steps between snapshots of the generator


@final
class StepNoise:
    """Standard normal noise that belongs to a seed and a step, drawn in any order.

    It is not the noise that one generator would draw step by step; for that, see `DrawnInOrder`.

    Args:
        seed: any whole number.
        like: a tensor of the shape, dtype and device of the noise.
    """

    def __init__(self, seed: int, like: Tensor) -> None:
        self._seed = seed
        self._like = like
        self._generator = torch.Generator(device=like.device)

    def __call__(self, step: int) -> Tensor:
        """Return the noise of a step, shaped like `like`; the same at every call."""
        self._generator.manual_seed(mix_seed(self._seed, step))
        return torch.randn(
            self._like.shape,
            generator=self._generator,
            dtype=self._like.dtype,
            device=self._like.device,
        )


@final
class DrawnInOrder:
    """The draws of a generator in the order of the sequential run, whichever step asks first.

    `noise(step)` is what the generator gives to the call number `step` of `draw`, so that the same seed gives the
    same sample as the ordinary loop. Steps may be asked for in any order and repeatedly: the newest draws are
    remembered, older ones are repeated from snapshots of the generator, of which there is one every 32 steps.

    Args:
        generator: the user's, on any device. It is left where the loop would leave it after the latest step asked for.
        draw: makes one step's noise from a generator; a tensor or a tree.
    """

    def __init__(
        self,
        generator: torch.Generator,
        draw: Callable[[torch.Generator], Tree],
    ) -> None:
        self._generator = generator
        self._draw = draw
        self._snapshots = [generator.get_state()]
        self._draws: dict[int, Tree] = {}
        self._next_step = 0

    def __call__(self, step: int) -> Tree:
        """Return the noise of a step; the same at every call.

        Raises:
            IndexError: the step is negative.
        """
        if step < 0:
            raise IndexError(f"step {step} is before the first; noise is drawn for steps 0, 1, ...")
        while self._next_step <= step:
            self._draw_next()
        if step not in self._draws:
            self._repeat_draws(step)
        return self._draws[step]

    def _draw_next(self) -> None:
        """Draw the noise of the next step, with a snapshot of the generator where one is due."""
        self._remember_draw(self._next_step, self._draw(self._generator))
        self._next_step += 1
        if self._next_step % SNAPSHOT_STRIDE == 0:
            self._snapshots.append(self._generator.get_state())

    def _repeat_draws(self, step: int) -> None:
        """Draw an old step and its neighbours once more, from the snapshot before it."""
        snapshot = step // SNAPSHOT_STRIDE
        start = snapshot * SNAPSHOT_STRIDE
        stop = min(start + SNAPSHOT_STRIDE, self._next_step)
        latest = self._generator.get_state()
        try:
            self._generator.set_state(self._snapshots[snapshot])
            for neighbour in range(start, stop):
                self._remember_draw(neighbour, self._draw(self._generator))
        finally:
            self._generator.set_state(latest)

    def _remember_draw(self, step: int, noise: Tree) -> None:
        """Remember a step's noise as the newest, and forget the oldest beyond the memory."""
        self._draws.pop(step, None)
        self._draws[step] = noise
        while len(self._draws) > REMEMBERED_DRAWS:
            del self._draws[next(iter(self._draws))]


def mix_seed(seed: int, step: int) -> int:
    """Return a seed for the step: different for every step of a seed, as generators on the CPU use 32 bits only.

    The step goes through an odd multiplier, which is a bijection of 32 bits, and meets a hash of the seed (the
    finalizer of SplitMix64, Steele, Lea, Flood 2014).
    """
    bits = seed * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (bits ^ bits >> 31 ^ step * 0x9E3779B1) & 0xFFFFFFFF


def remember_generators(device: torch.device) -> Callable[[], None]:
    """Return a function that sets torch's own generators, of the CPU and of a device, back to where they are now."""
    cpu_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore() -> None:
        torch.set_rng_state(cpu_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)

    return restore
