"""What an unmodified scheduler keeps between its steps, as tensors that a state can carry.

A scheduler's `step` writes on the scheduler: an index, flags, a few earlier outputs. All but the tensors
depends on the number of the step alone, never on the sample. So a dry run on a tiny sample shows what every
step starts from (a `SchedulerTemplate`), and any step can be taken from any sample: fill the template with tensors,
call `step`, collect the tensors again.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

ORIGINAL = "_forerun_original"  # on the class of a watched scheduler: the class that it is of
USUAL = ("model_output", "timestep", "sample")
TINY = (1, 3, 5, 7)  # a shape that nothing else in a scheduler has


@dataclass(frozen=True)
class HistorySlot:
    """Where a tensor of the history was."""

    index: int


@dataclass(frozen=True)
class SchedulerTemplate:
    """The attributes of a scheduler before one step, a `HistorySlot` where each tensor of the history is."""

    kind: type
    attributes: Mapping[str, Any]
    count: int  # slots

    @classmethod
    def of(cls, scheduler: Any, shape: Sequence[int]) -> tuple[SchedulerTemplate, list[Tensor]]:
        """The skeleton of a scheduler, and its history: every tensor of the sample's shape."""
        found: list[Tensor] = []

        def take(leaf: Any) -> Any:
            if isinstance(leaf, Tensor) and leaf.shape == torch.Size(shape):
                found.append(leaf)
                return HistorySlot(len(found) - 1)
            return leaf

        attributes = {name: _mapped(take, value) for name, value in vars(scheduler).items()}
        return cls(original(scheduler), attributes, len(found)), found

    def fill(self, history: Sequence[Tensor]) -> Any:
        """A scheduler with this history, free to be stepped: nothing that `step` changes is shared."""
        scheduler: Any = object.__new__(self.kind)
        filled = {
            name: _mapped(lambda leaf: history[leaf.index] if isinstance(leaf, HistorySlot) else leaf, value)
            for name, value in self.attributes.items()
        }
        vars(scheduler).update(filled)
        if hasattr(scheduler, "is_scale_input_called"):
            scheduler.is_scale_input_called = True  # which `step` would warn of; scaling is left to the caller
        return scheduler


@dataclass(frozen=True)
class VaryingArgument:
    """An argument of `step` that is another in every step."""

    values: Sequence[Any]


@final
class SchedulerReplay:
    """The steps of an unmodified scheduler, each to be taken from any sample and history.

    Args:
        scheduler: a diffusers scheduler whose `set_timesteps` was called, before its first step or between two.
        sample: the sample `(B, *shape)` that its next step will get.
        timesteps: the timesteps of the steps to come.
        channels: of the model output over those of the sample; 2 where a variance comes with it.
        step_options: further keyword arguments of `step`, the same at every step or `VaryingArgument`; no generator.

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
    ) -> None:
        self.timesteps = list(timesteps)
        self.step_options = dict(step_options)
        _refuse_missing(scheduler, self.step_options)
        self._takes_generator = "generator" in inspect.signature(original(scheduler).step).parameters
        self.draws_noise = False  # whether a step draws noise; the rehearsal tells
        self.dtype = sample.dtype
        first, self.history = SchedulerTemplate.of(scheduler, sample.shape)
        self.skeletons = self._rehearse(first, channels)
        self.slots = max(skeleton.count for skeleton in self.skeletons)

    def __len__(self) -> int:
        return len(self.timesteps)

    def state(self, sample: Tensor) -> tuple[Tensor, ...]:
        """The state of the first step: the sample, then the history, in the sample's dtype."""
        return (sample, *self._padded(self.history, sample))

    def step(self, index: int, state: Sequence[Tensor], output: Tensor, generator: Any = None) -> tuple[Tensor, ...]:
        """The state after the step `index`, from a model output; nothing that is passed in is modified."""
        sample, *history = state
        scheduler = self.skeletons[index].fill(history)
        following = take(scheduler, output, self.timesteps[index], sample, options=self.arguments(index, generator))
        kept = self.collect(scheduler, index + 1)
        return (following.to(sample.dtype), *self._padded(kept, following))

    def arguments(self, index: int, generator: Any) -> dict[str, Any]:
        """The keyword arguments of the step `index`."""
        options = {
            name: value.values[index] if isinstance(value, VaryingArgument) else value
            for name, value in self.step_options.items()
        }
        return {**options, "generator": generator} if self._takes_generator else options

    def position(self, index: int) -> int | None:
        """The place of a step in the scheduler's own lists, such as `sigmas`; None where it keeps no index."""
        after = self.skeletons[index + 1].attributes.get("_step_index")
        return None if after is None else int(after) - 1

    def scale(self, index: int) -> float:
        """By how much the scheduler multiplies the sample before it goes into the network."""
        scheduler = self.skeletons[index].fill([torch.zeros(TINY)] * self.skeletons[index].count)
        scaled = getattr(scheduler, "scale_model_input", None)
        if scaled is None:
            return 1.0
        probe = torch.ones(TINY, dtype=torch.float64)
        parameters = len(inspect.signature(type(scheduler).scale_model_input).parameters)
        result = scaled(probe, self.timesteps[index]) if parameters > 2 else scaled(probe)
        return float(result.flatten()[0])

    def _rehearse(self, first: SchedulerTemplate, channels: int) -> list[SchedulerTemplate]:
        sample = torch.zeros(TINY)
        output = torch.zeros((TINY[0], TINY[1] * channels, *TINY[2:]))
        scheduler = first.fill([sample.clone() for _ in range(first.count)])
        found = [SchedulerTemplate.of(scheduler, TINY)[0]]
        generator = torch.Generator().manual_seed(0)
        before, everywhere = generator.get_state(), torch.get_rng_state()
        for index, timestep in enumerate(self.timesteps):
            sample = take(scheduler, output, timestep, sample, options=self.arguments(index, generator))
            found.append(SchedulerTemplate.of(scheduler, TINY)[0])
        self.draws_noise = not torch.equal(before, generator.get_state())
        if not torch.equal(everywhere, torch.get_rng_state()):
            torch.set_rng_state(everywhere)
            raise ValueError(
                f"{type(scheduler).__name__} draws noise from torch's global generator, whatever generator it is "
                "given: its steps cannot be repeated; use a scheduler whose step takes a generator"
            )
        return found

    def collect(self, scheduler: Any, index: int) -> list[Tensor]:
        """The history on a scheduler before the step `index`: the tensors where the rehearsal found some."""
        expected = self.skeletons[index]
        found: list[Tensor] = [torch.empty(0)] * expected.count
        for name, value in expected.attributes.items():
            _pick(value, vars(scheduler)[name], found)
        return found

    def _padded(self, history: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        kept = [tensor.to(self.dtype) for tensor in history]
        return kept + [torch.zeros_like(like, dtype=self.dtype)] * (self.slots - len(kept))


def _refuse_missing(scheduler: Any, options: Mapping[str, Any]) -> None:
    """Refuse a step with arguments of its own that change from step to step."""
    parameters = list(inspect.signature(original(scheduler).step).parameters.values())[1:]
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in {*USUAL, *options}]
    if [p.name for p in parameters[:3]] != list(USUAL):
        missing = missing or [p.name for p in parameters if p.default is p.empty and p.name not in USUAL]
    if missing or any(isinstance(value, Tensor) and value.dim() > 1 for value in options.values()):
        raise ValueError(
            f"the step of {original(scheduler).__name__} takes {', '.join(missing) or 'tensors'} besides the usual "
            "arguments, which its own pipeline carries from step to step; use another scheduler"
        )


def original(scheduler: Any) -> Any:
    """The class that a scheduler is of, watched or not."""
    return getattr(type(scheduler), ORIGINAL, type(scheduler))


def take(scheduler: Any, output: Tensor, timestep: Any, sample: Tensor, *, options: Mapping[str, Any]) -> Tensor:
    """The next sample, by the class's own `step`."""
    result = type(scheduler).step(scheduler, output, timestep, sample, **options)
    following: Tensor = result[0] if isinstance(result, tuple) else result.prev_sample
    return following


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` of every leaf, in new lists, tuples, dicts and deques; other containers are leaves."""
    if type(value) in {list, tuple}:
        return type(value)(_mapped(function, each) for each in value)
    if type(value) is dict:
        return {key: _mapped(function, each) for key, each in value.items()}
    if type(value) is deque:
        return deque((_mapped(function, each) for each in value), value.maxlen)
    return function(value)


def _pick(pattern: Any, value: Any, found: list[Tensor]) -> None:
    """Put the tensors of `value` that stand at the slots of `pattern` into `found`."""
    if isinstance(pattern, HistorySlot):
        found[pattern.index] = value
    elif type(pattern) is dict:
        for key, inner in pattern.items():
            _pick(inner, value[key], found)
    elif type(pattern) in {list, tuple, deque}:
        for inner, each in zip(pattern, value, strict=True):
            _pick(inner, each, found)
