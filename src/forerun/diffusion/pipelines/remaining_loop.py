"""RemainingLoop: the rest of a pipeline's loop as a Process, made from one step that the pipeline took."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from forerun.diffusion.pipelines.argument_sources import StepBatch
from forerun.diffusion.pipelines.calls import (
    NetworkCall,
    NotUnderstood,
    output_tensors,
    widen,
)
from forerun.diffusion.pipelines.compare import find_difference
from forerun.diffusion.pipelines.times import list_time_tables
from forerun.diffusion.pipelines.trace import StepFacts, trace_calls
from forerun.diffusion.pipelines.traced_step import (
    TracedStep,
    are_near,
    largest_element,
)
from forerun.diffusion.schedulers.sampling import SchedulerSampling
from forerun.engine.backends.counted_evaluate import is_evaluated_apart
from forerun.engine.guesses import Guess, Hold, Probe
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveOptions
from forerun.engine.tolerance import PerStep, Tolerance

CONTROL_ROUNDINGS = 200  # of the network's dtype, between one step alone and the same step in a batch
STEP_ROUNDINGS = 64  # of the sample's dtype, between the scheduler's step and ours


@dataclass(frozen=True)
class StepRecord:
    """The last evaluation of a step: its samples `(B, *shape)`, what every call returned for them, and in which round.

    The number of the round is the same on all ranks.
    """

    sample: Tensor
    outputs: Sequence[Sequence[Tensor]]
    round: int


@final
class RemainingLoop:
    """The steps of a loop from one that was traced on.

    Attributes:
        process: the steps, that one included.
        graph: the calls of a step.
        state: after the step that was traced.
        records: the last evaluation of every step.
        rounds: that the solver has reported.

    Raises:
        NotUnderstood: what the pipeline did there cannot be repeated.
    """

    def __init__(self, traced: TracedStep) -> None:
        self._traced = traced
        self._sample = widen(traced.sample)
        self.process = SchedulerSampling(
            self._predict,
            traced.scheduler,
            self._sample,
            traced.timesteps,
            generator=traced.generator,
            channels=traced.channels,
            step_options=traced.options,
            revise=None if traced.blend is None else self._revise_sample,
        )
        self.process.kind = traced.calls[-1].network
        facts = StepFacts(
            sample=traced.sample,
            received=traced.received,
            scales=self.process.scales,
            tables=list_time_tables(traced.scheduler, self.process.replay),
            hints=traced.hints,
        )
        self.graph = trace_calls(traced.calls, facts)
        self.records: dict[int, StepRecord] = {}
        self.rounds = 0
        self._is_controlled = False
        self._control = threading.Lock()  # as slices of the first round may come from several threads
        self._first_output = self._output_of_traced_step()
        self.state = self._repeat_traced_step()

    @property
    def length(self) -> int:
        """Number of steps, the one that was traced included."""
        return self.process.length

    @property
    def sample(self) -> Tensor:
        """The sample of the step that was traced, `(B, *shape)`."""
        return self._traced.sample

    @property
    def device(self) -> torch.device:
        """Device of the samples."""
        return self._sample.device

    def complete_options(self, options: SolveOptions) -> SolveOptions:
        """Return how to solve this loop: a plain number is in units of the samples' standard deviation."""
        value = options.tolerance
        if value is None:
            value = self._traced.tolerance
        if not isinstance(value, Tolerance):
            value = PerStep(value, self.process.levels)
        completed = replace(options, tolerance=value)
        return completed.over(SolveOptions(guess=self._first_guess()))

    def _first_guess(self) -> Guess:
        """Return the first path: with the output of the traced step; without noise, wide windows are probed."""
        held_output = Hold(self._first_output)
        if self.process.replay.draws_noise:
            return held_output
        return Probe(hold=held_output)

    def evaluated_batch(self, index: int) -> StepBatch:
        """Return the step `index` as it was evaluated, a batch of one."""
        record = self.records[index]
        return StepBatch(torch.tensor([index]), record.sample.unsqueeze(0), record.outputs)

    def foresaw(
        self,
        calls: Sequence[NetworkCall],
        sample: Tensor,
        received: Tensor,
    ) -> bool:
        """Return whether the next step of the pipeline was as this loop has it."""
        if len(calls) != len(self.graph.calls) or self.length < 2:
            return False
        if not self._is_near(self.process.sample_of(self.state), sample):
            return False
        samples = sample.to(self._sample.dtype)[None]
        outputs: list[list[Tensor]] = []
        for traced, call in zip(self.graph.calls, calls, strict=True):
            batch = StepBatch(
                torch.ones(1, dtype=torch.long),
                samples,
                outputs,
            )
            if traced.call.network is not call.network:
                return False
            difference = find_difference(traced, batch, call.request, threshold=0.0)
            if difference is not None:
                return False
            outputs.append(output_tensors(call.output, listed=traced.listed))
        combined = self.graph.combine_outputs(outputs, 1, len(sample))
        return self._is_near(combined[0], received)

    def call_step_alone(self, index: int) -> tuple[list[list[Tensor]], Sequence[Sequence[Tensor]]]:
        """Call the networks for one step of the solved path, as the pipeline would; return theirs, and ours."""
        record = self.records[index]
        step = torch.tensor([index])
        outputs: list[list[Tensor]] = []
        for traced in self.graph.calls:
            batch = StepBatch(step, record.sample.unsqueeze(0), outputs)
            outputs.append(traced.run(batch))
        return outputs, record.outputs

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that a step calls, by name."""
        return {traced.call.name: traced.call.network for traced in self.graph.calls}

    def _is_near(self, ours: Tensor, theirs: Tensor) -> bool:
        rounding = STEP_ROUNDINGS * self._traced.rounding(theirs)
        size = float(theirs.abs().max())
        return are_near(ours, theirs, rounding * self.graph.guidance.gain * size)

    def _output_of_traced_step(self) -> Tree:
        received = self._traced.received.to(self._sample.dtype)
        return self.process.output_for(0, self._sample, received)

    def _revise_sample(self, step: int, sample: Tensor) -> Tensor:
        """Return the sample after a step, as the pipeline changes it before the next."""
        blend = self._traced.blend
        if blend is None:
            return sample
        return blend.apply(self.process.replay, step, sample)

    def _repeat_traced_step(self) -> Tree:
        """Return the state after the step that was traced, which must lead where the pipeline's own went."""
        first = self.process.state(self._sample)
        state = self.process.advance(0, first, self._first_output, revised=False)
        ours = self.process.sample_of(state)
        theirs = self._traced.next_sample
        name = type(self._traced.scheduler).__name__
        if ours.shape != theirs.shape:
            raise NotUnderstood(f"the step of {name} returned another shape than it got")
        rounding = STEP_ROUNDINGS * self._traced.rounding(theirs)
        size = largest_element(theirs, self._traced.sample)
        if not are_near(ours, theirs, rounding * size):
            raise NotUnderstood(f"a step of {name} could not be repeated on a copy of it")
        revised = self._revise_sample(0, theirs.to(ours.dtype))
        return self.process.replace_sample(state, revised)

    def _predict(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Return model outputs of some steps in one run of the graph; in the first, with the traced step as control.

        The control stands last, after the step that is farthest away: a network that takes something from the first
        row of a batch, such as its time, gives itself away.
        """
        if not self._is_controlled:
            with self._control:
                if not self._is_controlled:
                    return self._predict_beside_control(steps, samples)
        return self._run_graph(steps, samples)

    def _predict_beside_control(self, steps: Tensor, samples: Tensor) -> Tensor:
        """Return model outputs of some steps, in a batch that has the traced step in it as well."""
        traced_sample = self._sample.unsqueeze(0).to(samples.dtype)
        last_step = steps.new_full((1,), self.length - 1)
        all_steps = torch.cat([last_step, steps, steps.new_zeros(1)])
        all_samples = torch.cat([traced_sample, samples, traced_sample])
        outputs = self._run_graph(all_steps, all_samples)
        self._check_control(outputs[-1])
        self._is_controlled = True
        return outputs[1:-1]

    def _run_graph(self, steps: Tensor, samples: Tensor) -> Tensor:
        received, outputs = self.graph(StepBatch(steps, samples))
        if is_evaluated_apart():
            return received.to(samples.dtype)
        count = len(steps)
        by_step: list[list[Tensor]] = []
        for call, leaves in zip(self.graph.calls, outputs, strict=True):
            by_step.append([leaf.reshape(call.copies, count, -1, *leaf.shape[1:]) for leaf in leaves])
        for row, step in enumerate(steps.tolist()):
            step_outputs = [_copy_row(leaves, row) for leaves in by_step]
            self.records[step] = StepRecord(samples[row].clone(), step_outputs, self.rounds)
        return received.to(samples.dtype)

    def _check_control(self, ours: Tensor) -> None:
        """Refuse networks that give another output for the traced step within a batch."""
        theirs = self._traced.received
        leaves = (theirs, *self.records[0].outputs[-1])
        precision = max(torch.finfo(leaf.dtype).eps for leaf in leaves)
        size = largest_element(theirs) * self.graph.guidance.gain
        threshold = CONTROL_ROUNDINGS * precision * size
        error = (ours - theirs).abs().max()
        if not bool(error <= threshold):
            raise NotUnderstood(
                "the networks gave another output for the step that was taken when it was repeated in a batch: "
                "an argument is not known to belong to the batch, or the networks are not deterministic"
            )


def _copy_row(leaves: Sequence[Tensor], row: int) -> list[Tensor]:
    """Return copies of what belongs to one step, as a slice would keep the whole batch."""
    return [leaf[:, row].flatten(0, 1).clone() for leaf in leaves]
