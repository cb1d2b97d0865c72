"""The witness of `sample`: the user's denoiser for steps alone, and the scheduler's own steps beside their replica."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.ordinary_loop import OrdinaryLoop
from forerun.diffusion.schedulers.quirks import allow_unscaled_input
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.diffusion.schedulers.step_signature import previous_sample
from forerun.engine.witness import Witness, WitnessMemory, describe_difference

WITNESS_SHAPE = (2, 3, 4, 6)  # of the samples that the scheduler itself is stepped with
MAX_SCHEDULER_STEPS = 32  # that the scheduler itself is stepped

AGREED_SAMPLES = WitnessMemory()


@final
class SampleWitness:
    """Holds the replica of a loop against the loop.

    Args:
        loop: as its user would write it.
        process: the replica.
        witness: how many steps, and how near.

    Attributes:
        count: steps on which the denoiser was called alone.
        loses_gradient: whether the denoiser's own output carries a gradient, which a solved sample does not.
    """

    def __init__(self, loop: OrdinaryLoop, process: SchedulerSampling, witness: Witness) -> None:
        self._loop = loop
        self._process = process
        self._witness = witness
        self._configuration = self._describe_configuration()
        is_known = self._configuration in AGREED_SAMPLES
        steps = witness.choose_steps(process.length, known_to_agree=is_known)
        self._steps = set(steps[1:-1] if is_known else steps)
        self._records: dict[int, tuple[Tensor, Tensor]] = {}
        self.count = 0
        self.loses_gradient = False

    def _describe_configuration(self) -> Hashable:
        denoiser, first = self._loop.denoiser, self._loop.first
        code = getattr(denoiser, "__code__", type(denoiser))
        return code, type(self._loop.scheduler), self._process.length, first.shape, first.dtype

    def record(self, steps: Tensor, samples: Tensor, predicted: Tensor) -> None:
        """Keep what was predicted for the steps that are to be witnessed; all are `(W, ...)`."""
        for row, step in enumerate(steps.tolist()):
            if step in self._steps:
                self._records[step] = (samples[row].clone(), predicted[row].clone())

    def find_difference(self) -> str | None:
        """Say how the denoiser differs for a step alone from what it gave in a batch; None where it does not."""
        for step, (sample, predicted) in self._records.items():
            scaled = self._process.scale_samples(torch.tensor([step]), sample[None])[0]
            own = self._loop.call_denoiser(scaled, self._process.replay.timesteps[step])
            self.loses_gradient = self.loses_gradient or own.requires_grad
            difference = describe_difference(own.detach(), predicted, roundings=self._witness.roundings)
            if difference is not None:
                AGREED_SAMPLES.forget(self._configuration)
                return f"the denoiser, called for step {step + 1} alone, gave another output: {difference}"
            self.count += 1
        AGREED_SAMPLES.remember(self._configuration)
        return None

    @torch.no_grad()
    def find_scheduler_difference(self) -> str | None:
        """Say how the scheduler's own steps, one after another, differ from the replica's; None where they do not.

        Both are stepped with the same random samples and outputs, from where the schedule begins.
        """
        replay = self._process.replay
        if replay.history:  # of samples of another shape
            return None
        scheduler = copy.deepcopy(self._loop.scheduler)
        allow_unscaled_input(scheduler)
        draw = torch.Generator().manual_seed(0)
        generator, replica_generator = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
        sample = torch.randn(WITNESS_SHAPE, generator=draw).to(replay.dtype)
        state = replay.state(sample)
        for step in range(min(len(replay), MAX_SCHEDULER_STEPS)):
            output = torch.randn(WITNESS_SHAPE, generator=draw).to(replay.dtype)
            keywords = replay.step_keywords(step, generator)
            sample = previous_sample(scheduler.step(output, replay.timesteps[step], sample, **keywords))
            sample = sample.to(replay.dtype)
            state = replay.step(step, state, output, replica_generator)
            difference = describe_difference(sample, state[0], roundings=self._witness.roundings)
            if difference is not None:
                name = type(scheduler).__name__
                return f"step {step + 1} of {name} cannot be repeated on a copy of it: {difference}"
        return None
