"""SchedulerSampling: the loop over any diffusers scheduler, unmodified, as a Process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.clipping import (
    SampleClipping,
    probe_clipping,
)
from forerun.diffusion.schedulers.linear import StepMatrices, probe_matrices
from forerun.diffusion.schedulers.noise import Generators, StepNoises
from forerun.diffusion.schedulers.prediction import split_predictions
from forerun.diffusion.schedulers.replay import SchedulerReplay
from forerun.diffusion.schedulers.scheduler_form import SCHEDULER_FORMS, SchedulerForm
from forerun.diffusion.schedulers.scheduler_key import describe_scheduler
from forerun.diffusion.step_values import select_steps
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.process import Affine, Process

# (steps: list of W, samples (W, B, *shape), unscaled) -> what the scheduler's step takes, (W, B, *shape)
SampleNetwork = Callable[[Tensor, Tensor], Tensor]
SampleRevision = Callable[[int, Tensor], Tensor]


SMALLEST_CLOSED_SIZE: Final = (
    4  # bytes of a number: a scheduler rounds every step in half precision, a closed form would not
)


@final
class SchedulerSampling(Process):
    """The loop `x, h = scheduler.step(network(x), t, x)` over the timesteps of a scheduler.

    State: the sample `(B, *shape)` and the scheduler's history, as a tuple of tensors. Input: the sample. Output: the
    denoised sample `D = p x + q E`, with `E` what the network predicts, clamped where the scheduler clamps it
    (`forerun.diffusion.schedulers.clipping`); where the scheduler gets a variance too (twice the channels), a pair of
    both.

    Args:
        network: predictions `(W, B, *shape)` of samples `(W, B, *shape)` at steps `(W,)`.
        scheduler: its `set_timesteps` was called. Never modified: copies of it are stepped.
        sample: the sample that its next step gets.
        timesteps: of the steps to come.
        generator: of the noise, as it is handed to `step`. Left alone.
        channels: of the model output over those of the sample.
        step_options: further keyword arguments of `step`.
        revise: what becomes of the sample after a step, before the next.
    """

    counts_whole_state = False  # a scheduler's history serves the sample
    batch_dims = 1

    def __init__(
        self,
        network: SampleNetwork,
        scheduler: Any,
        sample: Tensor,
        timesteps: Any,
        *,
        generator: Generators = None,
        channels: int = 1,
        step_options: Mapping[str, Any] = MappingProxyType({}),
        revise: SampleRevision | None = None,
    ) -> None:
        self._network = network
        self._revise = revise
        self._channels = channels
        key = describe_scheduler(scheduler, sample, list(timesteps), channels=channels, step_options=step_options)
        form = SCHEDULER_FORMS.recall(key)
        self.replay = SchedulerReplay(
            scheduler,
            sample,
            timesteps,
            channels=channels,
            step_options=step_options,
            dry_run=None if form is None else form.dry_run,
        )
        if form is None:
            form = self._probe_form(scheduler, sample)
            SCHEDULER_FORMS.remember(key, form)
        self.length = len(self.replay)
        self.splits, self.scales = form.splits, form.scales
        self.matrices, self.clipping = form.matrices, form.clipping
        self._has_history = self.replay.slots > 0 if self.matrices is None else self.matrices.width > 1
        self._rows = [] if self.matrices is None else self.matrices.to_lists()
        self._p = _to_double([split.p for split in self.splits])
        self._q = _to_double([split.q for split in self.splits])
        self._noises: StepNoises | None = None
        if self.replay.draws_noise:
            self._noises = StepNoises(self.replay, generator, sample, channels=channels)

    def _probe_form(self, scheduler: Any, sample: Tensor) -> SchedulerForm:
        """Find out what the steps are: linear, as they are or but for their clipping, or neither."""
        replay = self.replay
        splits = split_predictions(scheduler, replay)
        scales = _to_double([replay.input_scale(step) for step in range(len(replay))])
        matrices: StepMatrices | None = None
        clipping: SampleClipping | None = None
        if self._channels == 1 and sample.element_size() >= SMALLEST_CLOSED_SIZE:
            matrices = probe_matrices(replay, splits)
            if matrices is None:
                closed_form = probe_clipping(scheduler, replay, splits, sample)
                if closed_form is not None:
                    matrices, clipping = closed_form
        return SchedulerForm(replay.dry_run, splits, matrices, clipping, scales)

    @property
    def levels(self) -> Tensor:
        """The standard deviation of the samples that each step makes, float64 `(length,)`: the unit of a tolerance."""
        units = [split.unit for split in self.splits]
        return _to_double([*units[1:], 1.0])

    def state(self, sample: Tensor) -> Tree:
        """Return the first state: the sample alone where the scheduler keeps no history."""
        state: Sequence[Tensor] = self.replay.state(sample)
        if self.matrices is not None:
            state = self.matrices.select_slots(state, 0)
        return self._pack(state)

    def read_state(self, step: int, scheduler: Any, sample: Tensor) -> Tree:
        """Return the state before a step, from the user's scheduler that stands there; its history is not copied."""
        if not self._has_history:
            return sample
        state: Sequence[Tensor] = self.replay.read_state(scheduler, sample)
        if self.matrices is not None:
            state = self.matrices.select_slots(state, step)
        return self._pack(state)

    def sample_of(self, state: Tree) -> Tensor:
        """Return the sample of a state, `(B, *shape)`."""
        sample: Tensor = state[0] if self._has_history else state
        return sample

    def scale_samples(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Return samples `(W, B, *shape)` as the scheduler scales them for the network."""
        return samples * select_steps(self.scales, steps, samples)

    def noise_at(self, step: int) -> Tensor:
        """Return what a step adds to the next sample by itself, `(B, *shape)`."""
        assert self._noises is not None, "no step of this scheduler adds noise"
        return self._noises(step)[0]

    def replace_sample(self, state: Tree, sample: Tensor) -> Tree:
        """Return the state with another sample."""
        history = self._unpack(state)[1:]
        return self._pack([sample, *history])

    def unit_at(self, step: int) -> float:
        """Return the standard deviation of the samples that a step starts from."""
        return self.splits[step].unit

    def output_for(self, step: int, sample: Tensor, predicted: Tensor) -> Tree:
        """Return the output for what the network predicted at a sample, both `(B, ...)`."""
        steps = torch.tensor([step])
        outputs = self._denoise(steps, sample[None], predicted[None])
        return tree_map(lambda leaf: leaf[0], outputs)

    def observe(self, state: Tree) -> Tree:
        return self.sample_of(state)

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        predicted = self._network(steps, inputs)
        return self._denoise(steps, inputs, predicted)

    def _denoise(self, steps: Tensor, inputs: Tensor, predicted: Tensor) -> Tree:
        predicted, *variance = predicted.chunk(self._channels, 2)
        inputs, predicted = _widen(inputs), _widen(predicted)
        p = select_steps(self._p, steps, inputs)
        q = select_steps(self._q, steps, inputs)
        denoised = p * inputs + q * predicted
        if self.clipping is not None:
            denoised = self.clipping(steps, inputs, predicted, denoised)
        if not variance:
            return denoised
        return (denoised, *variance)

    def advance(
        self,
        step: int,
        state: Tree,
        output: Tree,
        *,
        revised: bool = True,
    ) -> Tree:
        if self.matrices is None:
            next_state = self._call_scheduler(step, state, output)
        else:
            next_state = self._apply_matrices(step, state, output, self.matrices)
        if self._revise is None or not revised:
            return next_state
        sample = self._revise(step, self.sample_of(next_state))
        return self.replace_sample(next_state, sample)

    def affine(self, steps: Tensor) -> Affine | None:
        """See `Process.affine`: for a linear scheduler without history."""
        if self.matrices is None or self._has_history or self._revise is not None:
            return None
        indices = steps.to("cpu")
        shift = None
        if self._noises is not None:
            noises = [self.noise_at(step) for step in indices.tolist()]
            shift = torch.stack(noises)
        state = self.matrices.state[indices, 0, 0]
        output = self.matrices.output[indices, 0]
        return Affine(
            state=state.to(steps.device),
            output=output.to(steps.device),
            shift=shift,
        )

    def finish(self) -> None:
        """Put the user's generators where the sequential run leaves them."""
        if self._noises is not None:
            self._noises.finish()

    def _call_scheduler(self, step: int, state: Tree, output: Tree) -> Tree:
        denoised, *variance = output if isinstance(output, tuple) else (output,)
        split = self.splits[step]
        sample = self.sample_of(state)
        predicted = (denoised - split.p * _widen(sample)) / split.q
        model_output = torch.cat([predicted.to(sample.dtype), *variance], 1)
        generator = None
        if self._noises is not None:
            generator = self._noises.generator_at(step)
        next_state = self.replay.step(
            step,
            self._unpack(state),
            model_output,
            generator,
        )
        return self._pack(next_state)

    def _apply_matrices(
        self,
        step: int,
        state: Tree,
        output: Tensor,
        matrices: StepMatrices,
    ) -> Tree:
        before = (*self._unpack(state), output)
        next_state = [_weighted_sum(row, before) for row in self._rows[step]]
        if self._noises is not None:
            noise = matrices.select_slots(self._noises(step), step + 1)
            next_state = [tensor + added for tensor, added in zip(next_state, noise, strict=True)]
        return self._pack(next_state)

    def _unpack(self, state: Tree) -> Sequence[Tensor]:
        return state if self._has_history else (state,)

    def _pack(self, state: Sequence[Tensor]) -> Tree:
        return tuple(state) if self._has_history else state[0]


def _widen(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 at least, so that what is taken apart here is put together again to the last bit."""
    return tensor.float() if tensor.element_size() < SMALLEST_CLOSED_SIZE else tensor


def _to_double(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _weighted_sum(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of `weights` times `tensors`; the tensor itself where it is the only one, with weight one."""
    total: Tensor | None = None
    for weight, tensor in zip(weights, tensors, strict=True):
        if not weight:
            continue
        if total is not None:
            total = torch.add(total, tensor, alpha=weight)
        elif weight == 1:
            total = tensor
        else:
            total = tensor * weight
    return torch.zeros_like(tensors[0]) if total is None else total
