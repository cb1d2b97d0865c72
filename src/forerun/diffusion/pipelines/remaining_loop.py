"""A plan: the rest of a pipeline's loop as a Process, made from one step that the pipeline took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.argument_sources import StepBatch, Table
from forerun.diffusion.pipelines.blend import Blend
from forerun.diffusion.pipelines.call_graph import Known, Part, learn
from forerun.diffusion.pipelines.calls import Call, NotUnderstood, returned
from forerun.diffusion.pipelines.compare import differing
from forerun.diffusion.pipelines.guidance import Named
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.engine.guesses import Guess, Hold, Probe
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveOptions, SolveSettings
from forerun.engine.tolerance import PerStep

AGREES = 200  # roundings of the network's dtype between one step alone and the same step in a batch
FINEST, ROUGH = 1e-3, 4  # the usual tolerance; and at least so many roundings
FOLLOWS = 64  # roundings of the sample's dtype between the scheduler's step and ours


@dataclass(frozen=True)
class TracedStep:
    """A step as the pipeline took it.

    Attributes:
        calls: of its networks.
        scheduler: as it was before the step.
        sample: that the step received, `(B, *shape)`.
        received: model output that it received.
        following: the sample that it returned.
        timesteps: from this step's on, of the whole loop.
        options: further arguments of the step.
        generator: as it was before the step.
        named: what the pipeline says of its guidance.
        blend: what it does to the samples between two steps.
    """

    calls: Sequence[Call]
    scheduler: Any
    sample: Tensor
    received: Tensor
    following: Tensor
    timesteps: Sequence[Any]
    options: Mapping[str, Any]
    generator: Any
    named: Named
    blend: Blend | None = None


@dataclass(frozen=True)
class Record:
    """The last evaluation of a step: its samples `(B, *shape)`, what every call returned for them, and when."""

    sample: Tensor
    outputs: Sequence[Sequence[Tensor]]
    made: int  # in the how manyth round; the same on all ranks


@final
class Plan:
    """The steps from one that was taken on.

    Raises:
        NotUnderstood: what the pipeline did there cannot be repeated.
    """

    def __init__(self, taken: TracedStep) -> None:
        channels, odd = divmod(taken.received.shape[1], taken.sample.shape[1])
        if odd or taken.received.shape[0] != taken.sample.shape[0] or channels not in {1, 2}:
            raise NotUnderstood(
                f"the scheduler's step received a model output of shape {list(taken.received.shape)} for samples of "
                f"shape {list(taken.sample.shape)}"
            )
        self._taken = taken
        self._sample = taken.sample if taken.sample.dtype == torch.float64 else taken.sample.float()
        self.process = SchedulerSampling(
            self._network,
            taken.scheduler,
            self._sample,
            taken.timesteps,
            generator=taken.generator,
            channels=channels,
            step_options=taken.options,
            revise=self._revised if taken.blend is not None else None,
        )
        self.recipe = learn(
            taken.calls,
            Known(taken.sample, taken.received, self.process.scales, self._tables(), taken.named),
        )
        self.records: dict[int, Record] = {}
        self.rounds = 0  # that the solver has told of
        self._controlled = False
        self.state = self._followed()

    @property
    def length(self) -> int:
        """Steps of the plan, the one that was taken included."""
        return self.process.length

    @property
    def device(self) -> torch.device:
        """Of the samples."""
        return self._sample.device

    @property
    def precision(self) -> float:
        """A tolerance that the samples' dtype can keep, in units of their standard deviation."""
        return max(FINEST, ROUGH * torch.finfo(self._taken.sample.dtype).eps)

    @property
    def denoised(self) -> Tree:
        """The output of the step that was taken."""
        received = self._taken.received.to(self._sample.dtype)
        return self.process.output(0, self._sample, received)

    @property
    def guess(self) -> Guess:
        """The first path: with the output of the step that was taken; without noise, wide windows are probed."""
        held = Hold(self.denoised)
        return held if self.process.replay.draws_noise else Probe(hold=held)

    def settings(self, options: SolveOptions) -> SolveSettings:
        """Return the settings of a solve of this loop: a plain number is in units of the samples' deviation."""
        precision = PerStep(self.precision, self.process.levels)
        defaults = SolveOptions(tolerance=precision, guess=self.guess)
        return options.over(defaults).settled(tolerance=lambda value: PerStep(value, self.process.levels))

    def expected(self, part: Part, index: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with which a call of the step `index` was evaluated."""
        record = self.records[index]
        return part.make(StepBatch(torch.tensor([index]), record.sample.unsqueeze(0), record.outputs))

    def foretold(self, calls: Sequence[Call], sample: Tensor, received: Tensor) -> bool:
        """Whether the next step of the pipeline was as this plan has it."""
        parts, outputs = self.recipe.parts, list[list[Tensor]]()
        if len(calls) != len(parts) or self.length < 2 or not self._near(self.process.sample_of(self.state), sample):
            return False
        for part, call in zip(parts, calls, strict=True):
            moment = StepBatch(torch.ones(1, dtype=torch.long), sample.to(self._sample.dtype)[None], outputs)
            if part.call.network is not call.network:
                return False
            if differing(part, part.make(moment), call.asked, threshold=0.0) is not None:
                return False
            outputs.append(returned(call.output, listed=part.listed))
        return self._near(self.recipe.combine(outputs, 1, len(sample))[0], received)

    def _near(self, ours: Tensor, own: Tensor) -> bool:
        rounding = max(torch.finfo(each.dtype).eps for each in (own, self._taken.sample, self._taken.received))
        unit = FOLLOWS * rounding * self.recipe.guide.gain
        return ours.shape == own.shape and bool((ours - own).abs().max() <= unit * float(own.abs().max()))

    def _revised(self, step: int, sample: Tensor) -> Tensor:
        """The sample after a step, as the pipeline changes it before the next."""
        blend = self._taken.blend
        return sample if blend is None else blend.at(self.process.replay, step, sample)

    def _followed(self) -> Tree:
        """The state after the step that was taken, which must lead where the pipeline's own went."""
        state = self.process.advance(0, self.process.state(self._sample), self.denoised, revised=False)
        ours, own = self.process.sample_of(state), self._taken.following
        name = type(self._taken.scheduler).__name__
        if ours.shape != own.shape:
            raise NotUnderstood(f"the step of {name} returned another shape than it got")
        unit = max(float(own.abs().max()), float(self._taken.sample.abs().max()), 1e-6)
        rounding = max(torch.finfo(each.dtype).eps for each in (own, self._taken.sample, self._taken.received))
        if not bool((ours - own).abs().max() <= FOLLOWS * rounding * unit):
            raise NotUnderstood(f"a step of {name} could not be repeated on a copy of it")
        return self.process.replace_sample(state, self._revised(0, own.to(ours.dtype)))

    def _network(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Model outputs of some steps in one call of the recipe; in the first, the step that was taken as a control."""
        if self._controlled:
            return self._evaluated(steps, samples)
        first = self._sample.unsqueeze(0).to(samples.dtype)
        found = self._evaluated(torch.cat([steps.new_zeros(1), steps]), torch.cat([first, samples]))
        self._control(found[0])
        self._controlled = True
        return found[1:]

    def _evaluated(self, steps: Tensor, samples: Tensor) -> Tensor:
        received, outputs = self.recipe(StepBatch(steps, samples))
        count = len(steps)
        parts = self.recipe.parts
        split = [
            [leaf.reshape(part.copies, count, -1, *leaf.shape[1:]) for leaf in leaves]
            for part, leaves in zip(parts, outputs, strict=True)
        ]
        for row, step in enumerate(steps.tolist()):
            # copies, as a slice would keep the whole batch
            kept = [[leaf[:, row].flatten(0, 1).clone() for leaf in leaves] for leaves in split]
            self.records[step] = Record(samples[row].clone(), kept, self.rounds)
        return received.to(samples.dtype)

    def _control(self, found: Tensor) -> None:
        own = self._taken.received
        precision = max(torch.finfo(leaf.dtype).eps for leaf in (own, *self.records[0].outputs[-1]))
        unit = max(float(own.abs().max()), 1e-6)
        if not bool((found - own).abs().max() <= AGREES * precision * unit * self.recipe.guide.gain):
            raise NotUnderstood(
                "the networks gave another output for the step that was taken when it was repeated in a batch: "
                "an argument is not known to belong to the batch, or the networks are not deterministic"
            )

    def _tables(self) -> list[Table]:
        """What an argument of time may be."""
        script, scheduler = self.process.replay, self._taken.scheduler
        times = torch.tensor([float(t) for t in script.timesteps], dtype=torch.float64)
        train = float(scheduler.config.get("num_train_timesteps", 1000))
        tables = [Table(times, change) for change in (lambda t: t, lambda t: t / train)]
        tables += [Table(times, change) for change in (lambda t: 1 - t / train, lambda t: train - t)]
        sigmas = getattr(scheduler, "sigmas", None)
        places = [script.position(index) for index in range(self.length)]
        if sigmas is not None and all(place is not None and 0 <= place < len(sigmas) for place in places):
            levels = torch.tensor([float(sigmas[place]) for place in places], dtype=torch.float64)
            tables.append(Table(levels, lambda sigma: sigma))
        return tables
