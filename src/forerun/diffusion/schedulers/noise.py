"""The noise of a stochastic scheduler, drawn in the order of the sequential run, for steps in any order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.replay import SchedulerReplay

REMEMBERED_STEPS = 512  # whose noise is kept
Generators = torch.Generator | Sequence[torch.Generator] | None  # one, one for each sample, or the global one


@final
class StepNoises:
    """What every step of a replay adds by itself, as the user's generator gives it in the sequential run.

    The user's generator is left alone: copies of it are drawn from, by stepping the scheduler with zeros.

    Args:
        replay: the steps.
        generator: what the user hands to `step`.
        like: a sample `(B, *shape)`.
        channels: of the model output over those of the sample.
    """

    def __init__(
        self,
        replay: SchedulerReplay,
        generator: Generators,
        like: Tensor,
        *,
        channels: int = 1,
    ) -> None:
        self._replay = replay
        self._originals = list_generators(generator, like.device)
        self._drawing = [copy_generator(original) for original in self._originals]
        self._lent = [copy_generator(original) for original in self._originals]
        self._is_list = isinstance(generator, Sequence)
        self._like = like
        self._channels = channels
        self._generator_states: list[list[Tensor]] = []  # before each step
        self._noises: OrderedDict[int, tuple[Tensor, ...]] = OrderedDict()

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        """Return what the step adds to the next sample and history, each `(B, *shape)`; the same at every call."""
        self._draw_to(step)
        if step not in self._noises:
            generator = self.generator_at(step)
            noise = self._step_zeros(step, generator)
            self._remember(step, noise)
        return self._noises[step]

    def generator_at(self, step: int) -> Any:
        """Return a generator, or a list of them, in the state that the sequential run has before the step."""
        self._draw_to(step)
        states = self._generator_states[step]
        for generator, state in zip(self._lent, states, strict=True):
            generator.set_state(state)
        return self._as_argument(self._lent)

    def finish(self) -> None:
        """Put the user's generators where the sequential run leaves them."""
        last = len(self._replay) - 1
        self._draw_to(last)
        for original, drawing in zip(self._originals, self._drawing, strict=True):
            original.set_state(drawing.get_state())

    def _draw_to(self, step: int) -> None:
        first = len(self._generator_states)
        for index in range(first, step + 1):
            states = [generator.get_state() for generator in self._drawing]
            self._generator_states.append(states)
            generator = self._as_argument(self._drawing)
            noise = self._step_zeros(index, generator)
            self._remember(index, noise)

    def _step_zeros(
        self,
        step: int,
        generator: Any,
    ) -> tuple[Tensor, ...]:
        """Return where a step leads from a sample, a history and a model output of zeros."""
        zero = torch.zeros_like(self._like)
        output = zero
        if self._channels > 1:
            output = torch.cat([zero] * self._channels, 1)
        state = (zero, *[zero] * self._replay.slots)
        return self._replay.step(step, state, output, generator)

    def _remember(self, step: int, noise: tuple[Tensor, ...]) -> None:
        self._noises[step] = noise
        if len(self._noises) > REMEMBERED_STEPS:
            self._noises.popitem(last=False)

    def _as_argument(self, generators: list[torch.Generator]) -> Any:
        return generators if self._is_list else generators[0]


def list_generators(
    generator: Generators,
    device: torch.device,
) -> list[torch.Generator]:
    """Return the generators themselves, the global one of the device for None."""
    if isinstance(generator, Sequence):
        return list(generator)
    if generator is not None:
        return [generator]
    if device.type != "cuda":
        return [torch.default_generator]
    torch.cuda.init()
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.cuda.default_generators[index]]


def copy_generator(generator: torch.Generator) -> torch.Generator:
    """Return another generator in the same state."""
    copy = torch.Generator(device=generator.device)
    copy.set_state(generator.get_state())
    return copy
