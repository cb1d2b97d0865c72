"""SchedulerSampling: any diffusers scheduler, unmodified, as a Process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.clipping import SampleClipping, column, probe_clipped, unclipped
from forerun.diffusion.schedulers.history import SchedulerReplay
from forerun.diffusion.schedulers.linear import StepMatrices, probe
from forerun.diffusion.schedulers.noise import Generators, StepNoises
from forerun.diffusion.schedulers.prediction import splits
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.process import Affine, Process

# (steps: list of W, samples (W, B, *shape), unscaled) -> what the scheduler's step takes, (W, B, *shape)
Network = Callable[[Tensor, Tensor], Tensor]


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

    batch_dims = 1

    def __init__(
        self,
        network: Network,
        scheduler: Any,
        sample: Tensor,
        timesteps: Any,
        *,
        generator: Generators = None,
        channels: int = 1,
        step_options: Mapping[str, Any] = MappingProxyType({}),
        revise: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:
        self.replay = SchedulerReplay(scheduler, sample, timesteps, channels=channels, step_options=step_options)
        self.length = len(self.replay)
        self.splits = splits(scheduler, self.replay)
        self.matrices: StepMatrices | None = probe(self.replay, self.splits) if channels == 1 else None
        self.clipping: SampleClipping | None = None
        plain = unclipped(scheduler, self.replay, sample) if channels == 1 and self.matrices is None else None
        if plain is not None:
            self.matrices, self.clipping = probe_clipped(self.replay, plain, self.splits) or (None, None)
        self.scales = torch.tensor([self.replay.scale(step) for step in range(self.length)], dtype=torch.float64)
        self._alone = (self.replay.slots if self.matrices is None else self.matrices.width - 1) == 0
        self._network = network
        self._revise = revise
        self._channels = channels
        self._noises = (
            StepNoises(self.replay, generator, sample, channels=channels) if self.replay.draws_noise else None
        )
        self._rows = [] if self.matrices is None else self.matrices.rows()
        self._p = torch.tensor([split.p for split in self.splits], dtype=torch.float64)
        self._q = torch.tensor([split.q for split in self.splits], dtype=torch.float64)

    @property
    def levels(self) -> Tensor:
        """The standard deviation of the samples that each step makes, float64 `(length,)`: the unit of a tolerance."""
        units = [split.unit for split in self.splits]
        return torch.tensor([*units[1:], 1.0], dtype=torch.float64)

    def state(self, sample: Tensor) -> Tree:
        """The first state: the sample alone where the scheduler keeps no history."""
        state = self.replay.state(sample)
        if self.matrices is None:
            return self._pack(state)
        return self._pack(_kept(state, self.matrices, 0))

    def sample_of(self, state: Tree) -> Tensor:
        """The sample of a state, `(B, *shape)`."""
        found: Tensor = state if self._alone else state[0]
        return found

    def scale_samples(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Samples `(W, B, *shape)` as the scheduler scales them for the network."""
        return samples * column(self.scales, steps, samples)

    def noise_at(self, step: int) -> Tensor:
        """What a step adds to the next sample by itself, `(B, *shape)`."""
        assert self._noises is not None, "no step of this scheduler adds noise"
        return self._noises(step)[0]

    def replace_sample(self, state: Tree, sample: Tensor) -> Tree:
        """The state with another sample."""
        return self._pack([sample, *self._unpack(state)[1:]])

    def unit(self, step: int) -> float:
        """The standard deviation of the samples that a step sees."""
        return self.splits[step].unit

    def output(self, step: int, sample: Tensor, predicted: Tensor) -> Tree:
        """The output for what the network predicted at a sample, both `(B, ...)`."""
        return tree_map(lambda leaf: leaf[0], self._denoised(torch.tensor([step]), sample[None], predicted[None]))

    def observe(self, state: Tree) -> Tree:
        return self.sample_of(state)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tree:
        return self._denoised(steps, inputs, self._network(steps, inputs))

    def _denoised(self, steps: Tensor, inputs: Tensor, predicted: Tensor) -> Tree:
        predicted, *variance = predicted.chunk(self._channels, 2)
        p, q = (column(each, steps, inputs) for each in (self._p, self._q))
        denoised = p * inputs + q * predicted
        if self.clipping is not None:
            denoised = self.clipping(steps, inputs, predicted, denoised)
        return (denoised, *variance) if variance else denoised

    def advance(self, step: int, state: Tree, output: Tree, *, revised: bool = True) -> Tree:
        following = self._stepped(step, state, output) if self.matrices is None else self._linear(step, state, output)
        if self._revise is None or not revised:
            return following
        return self.replace_sample(following, self._revise(step, self.sample_of(following)))

    def affine(self, steps: Tensor) -> Affine | None:
        """See `Process.affine`: for a linear scheduler without history."""
        if self.matrices is None or not self._alone or self._revise is not None:
            return None
        found = steps.to("cpu")
        shift = None if self._noises is None else torch.stack([self._noises(step)[0] for step in found.tolist()])
        return Affine(
            state=self.matrices.state[found, 0, 0].to(steps.device),
            output=self.matrices.output[found, 0].to(steps.device),
            shift=shift,
        )

    def finish(self) -> None:
        """Put the user's generators where the sequential run leaves them."""
        if self._noises is not None:
            self._noises.finish()

    def _stepped(self, step: int, state: Tree, output: Tree) -> Tree:
        denoised, *variance = output if isinstance(output, tuple) else (output,)
        split = self.splits[step]
        predicted = torch.cat([(denoised - split.p * self.sample_of(state)) / split.q, *variance], 1)
        generator = None if self._noises is None else self._noises.generator(step)
        return self._pack(self.replay.step(step, self._unpack(state), predicted, generator))

    def _linear(self, step: int, state: Tree, output: Tensor) -> Tree:
        before = (*self._unpack(state), output)
        following = [_combined(row, before) for row in self._rows[step]]
        if self._noises is not None and self.matrices is not None:
            noise = _kept(self._noises(step), self.matrices, step + 1)
            following = [each + added for each, added in zip(following, noise, strict=True)]
        return self._pack(following)

    def _unpack(self, state: Tree) -> Sequence[Tensor]:
        return (state,) if self._alone else state

    def _pack(self, state: Sequence[Tensor]) -> Tree:
        return state[0] if self._alone else tuple(state)


def _kept(state: Sequence[Tensor], matrices: StepMatrices, step: int) -> list[Tensor]:
    """What the matrices carry before a step, of all that the scheduler keeps."""
    kept = [state[slot] for slot in matrices.slots[step]]
    return kept + [torch.zeros_like(kept[0])] * (matrices.width - len(kept))


def _combined(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    """The sum of `weights` times `tensors`; the tensor itself where it is the only one, with weight one."""
    terms = [(weight, tensor) for weight, tensor in zip(weights, tensors, strict=True) if weight]
    if not terms:
        return torch.zeros_like(tensors[0])
    (weight, tensor), *rest = terms
    total = tensor if weight == 1 else tensor * weight
    for weight, tensor in rest:
        total = torch.add(total, tensor, alpha=weight)
    return total
