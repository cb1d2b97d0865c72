"""ObservedSamples: the samples of a pipeline's loop as its scheduler sees them, and what changes them between steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from forerun.diffusion.pipelines.blend import MaskBlend, NoisingCall, find_blend
from forerun.diffusion.pipelines.calls import NetworkCall
from forerun.diffusion.pipelines.scheduler_snapshot import SchedulerSnapshot, read_guidance_hints
from forerun.diffusion.pipelines.traced_step import TracedStep
from forerun.diffusion.schedulers.step_signature import previous_sample


@final
class ObservedSamples:
    """What the scheduler of a loop returned and got, from step to step.

    Attributes:
        last: that a step returned; None before the first, and where a step returns none that is seen.
        were_noised: whether the scheduler added noise to a sample since the last step.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None
        self.were_noised = False
        self._noising: NoisingCall | None = None
        self._blend: MaskBlend | None = None

    def record_noising(self, noising: NoisingCall) -> None:
        """Take note that the scheduler added noise to a sample."""
        self._noising = noising
        self.were_noised = True

    def finish_step(self, result: Any) -> None:
        """Take note of what a step returned."""
        self.were_noised = False
        try:
            self.last = previous_sample(result)
        except TypeError:  # what it is belongs to the pipeline
            self.last = None

    def trace_step(
        self,
        pipe: Any,
        calls: Sequence[NetworkCall],
        snapshot: SchedulerSnapshot,
        *,
        next_sample: Tensor,
        timesteps: list[Any],
    ) -> TracedStep:
        """Return a step as the pipeline took it.

        Args:
            pipe: the pipeline.
            calls: that it made of its networks.
            snapshot: of the scheduler before the step.
            next_sample: that the step returned.
            timesteps: of the loop from this step on.
        """
        sample = snapshot.arguments["sample"]
        if self.last is not None:
            self._blend = find_blend(self._noising, self.last, sample)
        return TracedStep(
            calls=calls,
            scheduler=snapshot.scheduler,
            sample=sample,
            received=snapshot.arguments["model_output"],
            next_sample=next_sample,
            timesteps=timesteps,
            options=snapshot.step_options(timesteps),
            generator=snapshot.generator,
            hints=read_guidance_hints(pipe),
            blend=self._blend,
        )
