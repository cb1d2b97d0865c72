"""SchedulerSnapshot: a pipeline's scheduler as it was before a step; what is left of its loop, and of its guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch

from forerun.diffusion.pipelines.calls import NotUnderstood
from forerun.diffusion.pipelines.guidance import GuidanceHints
from forerun.diffusion.schedulers.noise import copy_generator, list_generators
from forerun.diffusion.schedulers.quirks import BEGIN_INDEX, STEP_INDEX, TIMESTEPS
from forerun.diffusion.schedulers.replay import VaryingArgument
from forerun.diffusion.schedulers.step_signature import STEP_ARGUMENTS
from forerun.diffusion.schedulers.template import SchedulerTemplate

GUIDANCE_SCALES = (
    "guidance_scale",
    "_guidance_scale",
    "true_cfg_scale",
    "_true_cfg_scale",
)
GUIDANCE_RESCALES = ("guidance_rescale", "_guidance_rescale")
NOT_OPTIONS = {"self", *STEP_ARGUMENTS, "generator", "return_dict"}


@final
class SchedulerSnapshot:
    """A scheduler and its generator just before a step, free to be stepped; and the arguments of that step.

    Attributes:
        arguments: of the step, by name.
        scheduler: a copy, as it was before the step.
        generator: copies of the generator or the generators, as they were before the step.
    """

    def __init__(self, scheduler: Any, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments
        sample = arguments["sample"]
        template, history = SchedulerTemplate.from_scheduler(scheduler, sample.shape)
        self.scheduler = template.isolate().fill(history)
        generator = arguments.get("generator")
        originals = list_generators(generator, sample.device)
        copies = [copy_generator(original) for original in originals]
        self.generator: Any = copies[0]
        if isinstance(generator, Sequence):
            self.generator = copies

    def remaining_timesteps(self, pipe: Any, steps: int) -> list[Any]:
        """Return the timesteps of the loop from this step on, `steps` of it being taken."""
        listed = TIMESTEPS.read(self.scheduler)
        if listed is None:
            name = type(self.scheduler).__name__
            raise NotUnderstood(f"{name} has no timesteps; keep those of the loop as self.timesteps in set_timesteps")
        timestep = torch.as_tensor(self.arguments["timestep"])
        timesteps = list(listed)
        value = float(timestep.flatten()[0])
        place = self._place_of(value, timesteps)
        remaining = timesteps[place:]
        total = getattr(pipe, "_num_timesteps", None)
        if isinstance(total, int):
            steps_left = total - steps
            if 0 < steps_left <= len(remaining):
                remaining = remaining[:steps_left]
        if not timestep.dim():
            return remaining
        return [time.reshape(1) for time in remaining]

    def _place_of(self, timestep: float, timesteps: Sequence[Any]) -> int:
        """Return the place of this step among the timesteps: by the scheduler's index, else by value."""
        index = STEP_INDEX.read(self.scheduler)
        if index is None:
            index = BEGIN_INDEX.read(self.scheduler)
        if index is not None and int(index) < len(timesteps):
            place = int(index)
            if float(timesteps[place]) == timestep:
                return place
        for place, time in enumerate(timesteps):
            if float(time) == timestep:
                return place
        return len(timesteps)

    def step_options(self, timesteps: Sequence[Any]) -> dict[str, Any]:
        """Return the further arguments of this step and those to come; one that is the next timestep goes on so."""
        options = dict(self.arguments)
        for name in NOT_OPTIONS:
            options.pop(name, None)
        next_timesteps = VaryingArgument([*timesteps[1:], None])
        for name, value in options.items():
            is_time = name.endswith("timestep") and value is not None
            if is_time and float(value) == float(timesteps[1]):
                options[name] = next_timesteps
        return options


def read_guidance_hints(pipe: Any) -> GuidanceHints:
    """Return what a pipeline says of its guidance."""
    guider = getattr(pipe, "guider", None)
    scales = _read_numbers((pipe, guider), GUIDANCE_SCALES)
    rescales = _read_numbers((pipe, guider), GUIDANCE_RESCALES)
    shares = tuple(share for share in rescales if share)
    return GuidanceHints(scales, shares, guider)


def _read_numbers(holders: Sequence[Any], names: Sequence[str]) -> tuple[float, ...]:
    numbers: list[float] = []
    for holder in holders:
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, int | float) and not isinstance(value, bool):
                numbers.append(float(value))
    return tuple(numbers)
