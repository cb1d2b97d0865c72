"""The steps of an unmodified scheduler, each to be taken from any sample and history.

A dry run on a tiny sample shows what every step starts from, a `SchedulerTemplate`. To take a step: fill its template
with the tensors of the history, call the scheduler's own `step`, and collect the tensors again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.quirks import STEP_INDEX, scale_input
from forerun.diffusion.schedulers.step_signature import (
    STEP_ARGUMENTS,
    is_required,
    names_step_arguments,
    previous_sample,
    step_parameters,
    takes_generator,
)
from forerun.diffusion.schedulers.template import SchedulerTemplate

TINY_SHAPE = (1, 3, 5, 7)  # a shape that nothing else in a scheduler has


@dataclass(frozen=True)
class VaryingArgument:
    """An argument of `step` that is another in every step."""

    values: Sequence[Any]


@dataclass(frozen=True)
class DryRun:
    """What a dry run shows of a scheduler.

    Attributes:
        templates: the scheduler before every step, and after the last.
        draws_noise: whether a step draws noise.
        tensors: that the steps share.
        versions: of these, which count the changes in place.
    """

    templates: Sequence[SchedulerTemplate]
    draws_noise: bool
    tensors: Sequence[Tensor]
    versions: Sequence[int]

    @classmethod
    def from_templates(cls, templates: Sequence[SchedulerTemplate], *, draws_noise: bool) -> DryRun:
        """Return the dry run with these templates."""
        tensors: list[Tensor] = []
        for template in (templates[0], templates[-1]):
            tensors += [leaf for leaf in template.list_leaves() if isinstance(leaf, Tensor) and not leaf.is_inference()]
        return cls(templates, draws_noise, tensors, [tensor._version for tensor in tensors])

    @property
    def is_intact(self) -> bool:
        """Whether no step has changed what the steps share."""
        return [tensor._version for tensor in self.tensors] == self.versions


@final
class SchedulerReplay:
    """The steps of an unmodified scheduler, each to be taken from any sample and history.

    Args:
        scheduler: a diffusers scheduler whose `set_timesteps` was called, before its first step or between two.
        sample: the sample `(B, *shape)` that its next step will get.
        timesteps: the timesteps of the steps to come.
        channels: of the model output over those of the sample; 2 where a variance comes with it.
        step_options: further keyword arguments of `step`, the same at every step or `VaryingArgument`; no generator.
        dry_run: of the same steps of an equal scheduler; None to make one.

    Attributes:
        dry_run: what the dry run shows.
        templates: the scheduler before every step, and after the last.
        history: the tensors that it keeps before the first step.
        slots: the largest number of tensors that it keeps.
        draws_noise: whether a step draws noise, as the dry run shows.

    Raises:
        ValueError: the scheduler cannot be stepped with these arguments.
    """

    def __init__(
        self,
        scheduler: Any,
        sample: Tensor,
        timesteps: Sequence[Any],
        *,
        channels: int = 1,
        step_options: Mapping[str, Any],
        dry_run: DryRun | None = None,
    ) -> None:
        self.timesteps = list(timesteps)
        self.step_options = dict(step_options)
        self.dtype = sample.dtype
        _refuse_carried_arguments(scheduler, self.step_options)
        self._takes_generator = takes_generator(scheduler)
        template, self.history = SchedulerTemplate.from_scheduler(scheduler, sample.shape)
        self.dry_run = dry_run or self._dry_run(template, channels)
        self.templates, self.draws_noise = self.dry_run.templates, self.dry_run.draws_noise
        self.slots = max(template.count for template in self.templates)

    def __len__(self) -> int:
        return len(self.timesteps)

    def state(self, sample: Tensor) -> tuple[Tensor, ...]:
        """Return the state of the first step: the sample, then the history, in the sample's dtype."""
        return (sample, *self._pad_history(self.history, sample))

    def read_state(self, scheduler: Any, sample: Tensor) -> tuple[Tensor, ...]:
        """Return the state of a step from a scheduler that stands before it, and the sample that it will get."""
        _, history = SchedulerTemplate.from_scheduler(scheduler, sample.shape)
        return (sample, *self._pad_history(history, sample))

    def step(
        self,
        index: int,
        state: Sequence[Tensor],
        output: Tensor,
        generator: Any = None,
    ) -> tuple[Tensor, ...]:
        """Return the state after the step `index`, from a model output; nothing that is passed in is modified."""
        sample, *history = state
        history = [tensor.clone() for tensor in history]  # as some schedulers work on it in place
        next_sample, kept_history = self.raw_step(index, output, sample, history=history, generator=generator)
        padded = self._pad_history(kept_history, next_sample)
        return (next_sample.to(sample.dtype), *padded)

    def raw_step(
        self,
        index: int,
        output: Tensor,
        sample: Tensor,
        *,
        history: Sequence[Tensor],
        generator: Any,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the sample and the history after the step `index`, as the scheduler leaves them."""
        scheduler = self.templates[index].fill(history)
        next_sample = self._call_step(scheduler, index, output, sample, generator=generator)
        collected = self.templates[index + 1].collect(scheduler)
        return next_sample, collected

    def step_index(self, index: int) -> int | None:
        """Return the place of a step in the scheduler's own lists, such as `sigmas`; None where it keeps no index."""
        after = self.templates[index + 1].attributes.get(STEP_INDEX.name)
        return None if after is None else int(after) - 1

    def empty_scheduler(self, index: int) -> Any:
        """Return the scheduler before the step `index`, with a history of zeros."""
        template = self.templates[index]
        history = [torch.zeros(TINY_SHAPE)] * template.count
        return template.fill(history)

    def input_scale(self, index: int) -> float:
        """Return by how much the scheduler multiplies the sample before it goes into the network."""
        scheduler = self.empty_scheduler(index)
        ones = torch.ones(TINY_SHAPE, dtype=torch.float64)
        scaled = scale_input(scheduler, ones, self.timesteps[index])
        return float(scaled.flatten()[0])

    def _call_step(
        self,
        scheduler: Any,
        index: int,
        output: Tensor,
        sample: Tensor,
        *,
        generator: Any,
    ) -> Tensor:
        """Return the next sample, by the class's own `step`."""
        keywords = self.step_keywords(index, generator)
        result = type(scheduler).step(scheduler, output, self.timesteps[index], sample, **keywords)
        return previous_sample(result)

    def step_keywords(self, index: int, generator: Any) -> dict[str, Any]:
        """Return the keyword arguments of the step `index`."""
        keywords = {name: _value_at(value, index) for name, value in self.step_options.items()}
        if self._takes_generator:
            keywords["generator"] = generator
        return keywords

    def _dry_run(
        self,
        template: SchedulerTemplate,
        channels: int,
    ) -> DryRun:
        """Return what running all steps on a tiny sample shows."""
        batch, width, *shape = TINY_SHAPE
        sample = torch.zeros(TINY_SHAPE)
        output = torch.zeros((batch, width * channels, *shape))
        scheduler = template.fill([sample.clone() for _ in range(template.count)])
        generator = torch.Generator().manual_seed(0)
        generator_state, global_state = generator.get_state(), torch.get_rng_state()
        templates = [SchedulerTemplate.from_scheduler(scheduler, TINY_SHAPE)[0]]
        for index in range(len(self)):
            sample = self._call_step(scheduler, index, output, sample, generator=generator)
            templates.append(SchedulerTemplate.from_scheduler(scheduler, TINY_SHAPE)[0])
        if not torch.equal(global_state, torch.get_rng_state()):
            torch.set_rng_state(global_state)
            raise ValueError(
                f"{type(scheduler).__name__} draws noise from torch's global generator, whatever generator it gets: "
                "its steps cannot be repeated; use a scheduler whose step takes a generator"
            )
        draws_noise = not torch.equal(generator_state, generator.get_state())
        return DryRun.from_templates(templates, draws_noise=draws_noise)

    def _pad_history(self, history: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        """Return a history in the state's dtype, with zeros in the slots that are empty."""
        converted = [tensor.to(self.dtype) for tensor in history]
        missing = self.slots - len(converted)
        return converted + [torch.zeros_like(like, dtype=self.dtype)] * missing


def _value_at(value: Any, index: int) -> Any:
    return value.values[index] if isinstance(value, VaryingArgument) else value


def _refuse_carried_arguments(scheduler: Any, step_options: Mapping[str, Any]) -> None:
    """Refuse a step with arguments of its own that change from step to step."""
    carried = _carried_arguments(scheduler, step_options)
    carries_tensor = any(isinstance(value, Tensor) and value.dim() > 1 for value in step_options.values())
    if carried or carries_tensor:
        raise ValueError(
            f"the step of {type(scheduler).__name__} takes {', '.join(carried) or 'tensors'} besides the "
            "usual arguments, which its own pipeline carries from step to step; use another scheduler"
        )


def _carried_arguments(scheduler: Any, step_options: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments that a step needs besides the usual ones."""
    parameters = step_parameters(scheduler)
    required = [parameter.name for parameter in parameters if is_required(parameter)]
    if names_step_arguments(scheduler):
        return _without_options(required[len(STEP_ARGUMENTS) :], step_options)
    unusual = [name for name in required if name not in STEP_ARGUMENTS]
    return _without_options(unusual, step_options) or unusual


def _without_options(names: Sequence[str], step_options: Mapping[str, Any]) -> list[str]:
    return [name for name in names if name not in step_options]
