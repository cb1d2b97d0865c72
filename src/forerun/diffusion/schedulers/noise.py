"""The noise of a stochastic scheduler, drawn in the order of the sequential run, for steps in any order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.history import SchedulerReplay

KEEP = 512  # steps whose noise is remembered
Generators = torch.Generator | Sequence[torch.Generator] | None  # one, one for each sample, or the global one


@final
class StepNoises:
    """What every step of a script adds by itself, as the user's generator gives it in the sequential run.

    The user's generator is left alone: copies of it are drawn from, by stepping the scheduler with zeros.

    Args:
        script: the steps.
        generator: what the user hands to `step`.
        like: a sample `(B, *shape)`.
        channels: of the model output over those of the sample.
    """

    def __init__(self, script: SchedulerReplay, generator: Generators, like: Tensor, *, channels: int = 1) -> None:
        self._script = script
        self._given = originals(generator, like.device)
        self._drawing = [copied(each) for each in self._given]
        self._handed = [copied(each) for each in self._given]
        self._single = not isinstance(generator, Sequence)
        self._like = like
        self._channels = channels
        self._states: list[list[Tensor]] = []  # before each step
        self._drawn: OrderedDict[int, tuple[Tensor, ...]] = OrderedDict()

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """What the step adds to the next sample and history, each `(B, *shape)`; the same at every call."""
        self._draw_to(step)
        if step not in self._drawn:
            self._remember(step, self._shift(step, self.generator(step)))
        return self._drawn[step]

    def generator(self, step: int) -> Any:
        """A generator, or a list of them, as the sequential run finds it before the step."""
        self._draw_to(step)
        for own, state in zip(self._handed, self._states[step], strict=True):
            own.set_state(state)
        return self._one(self._handed)

    def finish(self) -> None:
        """Put the user's generators where the sequential run leaves them."""
        self._draw_to(len(self._script) - 1)
        for own, drawn in zip(self._given, self._drawing, strict=True):
            own.set_state(drawn.get_state())

    def _draw_to(self, step: int) -> None:
        for index in range(len(self._states), step + 1):
            self._states.append([own.get_state() for own in self._drawing])
            self._remember(index, self._shift(index, self._one(self._drawing)))

    def _shift(self, step: int, generator: Any) -> tuple[Tensor, ...]:
        zero = torch.zeros_like(self._like)
        output = torch.cat([zero] * self._channels, 1) if self._channels > 1 else zero
        state = (zero, *[zero] * self._script.slots)
        return self._script.step(step, state, output, generator)

    def _remember(self, step: int, drawn: tuple[Tensor, ...]) -> None:
        self._drawn[step] = drawn
        if len(self._drawn) > KEEP:
            self._drawn.popitem(last=False)

    def _one(self, generators: list[torch.Generator]) -> Any:
        return generators[0] if self._single else generators


def originals(generator: Generators, device: torch.device) -> list[torch.Generator]:
    """The generators themselves, the global one of the device where none is given."""
    if isinstance(generator, Sequence):
        return list(generator)
    if generator is not None:
        return [generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        return [torch.cuda.default_generators[index]]
    return [torch.default_generator]


def copied(generator: torch.Generator) -> torch.Generator:
    """Another generator in the same state."""
    copy = torch.Generator(device=generator.device)
    copy.set_state(generator.get_state())
    return copy
