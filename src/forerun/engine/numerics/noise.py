"""Noise: randomness as a function of the step, so that a step evaluated again meets the same noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree

KEEP = 1024  # draws and snapshots that are remembered
STRIDE = 32  # steps between snapshots of the generator


@final
class StepNoise:
    """Standard normal noise that belongs to a seed and a step, drawn in any order.

    Another noise than one generator would draw step by step; for that, see `DrawnInOrder`.

    Args:
        seed: any whole number.
        like: a tensor of the shape, dtype and device of the noise.
    """

    def __init__(self, seed: int, like: Tensor) -> None:
        self._seed = seed
        self._like = like
        self._generator = torch.Generator(device=like.device)

    def __call__(self, step: int) -> Tensor:
        """The noise of a step, shaped like `like`; the same at every call."""
        self._generator.manual_seed(mix_seed(self._seed, step))
        like = self._like
        return torch.randn(like.shape, generator=self._generator, dtype=like.dtype, device=like.device)


@final
class DrawnInOrder:
    """The draws of a generator in the order of the sequential run, whichever step asks first.

    `noise(step)` is what the generator gives to the call number `step` of `draw`, so that the same seed gives the
    same sample as the ordinary loop. Steps may be asked for in any order and again: the newest draws are remembered,
    older ones are drawn again from snapshots of the generator, of which there is one every 32 steps.

    Args:
        generator: of the user; on any device. It stands behind the furthest step asked for, as after the loop.
        draw: one step's noise from a generator; a tensor or a tree.
    """

    def __init__(self, generator: torch.Generator, draw: Callable[[torch.Generator], Tree]) -> None:
        self._generator = generator
        self._draw = draw
        self._snapshots = [generator.get_state()]
        self._drawn: dict[int, Tree] = {}
        self._next = 0

    def __call__(self, step: int) -> Tree:
        """The noise of a step; the same at every call.

        Raises:
            IndexError: the step is negative.
        """
        if step < 0:
            raise IndexError(f"step {step} is before the first; noise is drawn for steps 0, 1, ...")
        while self._next <= step:
            self._remember(self._next, self._draw(self._generator))
            self._next += 1
            if self._next % STRIDE == 0:
                self._snapshots.append(self._generator.get_state())
        if step not in self._drawn:
            self._draw_again(step)
        return self._drawn[step]

    def _draw_again(self, step: int) -> None:
        """The stretch around an old step, from the snapshot before it."""
        now = self._generator.get_state()
        first = step // STRIDE * STRIDE
        try:
            self._generator.set_state(self._snapshots[step // STRIDE])
            for again in range(first, min(first + STRIDE, self._next)):
                self._remember(again, self._draw(self._generator))
        finally:
            self._generator.set_state(now)

    def _remember(self, step: int, drawn: Tree) -> None:
        self._drawn.pop(step, None)
        self._drawn[step] = drawn
        while len(self._drawn) > KEEP:
            del self._drawn[next(iter(self._drawn))]


def mix_seed(seed: int, step: int) -> int:
    """A seed for the step: different for every step of a seed, as generators on the CPU look at 32 bits only.

    The step goes through an odd multiplier, which is a bijection of 32 bits, and meets a hash of the seed (the
    finalizer of SplitMix64, Steele, Lea, Flood 2014).
    """
    bits = seed * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (bits ^ bits >> 31 ^ step * 0x9E3779B1) & 0xFFFFFFFF
