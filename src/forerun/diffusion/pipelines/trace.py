"""The trace of a step: from the calls that a pipeline made in it to a call graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.diffusion.pipelines.argument_sources import (
    ArgumentSource,
    BatchRows,
    ConstantArgument,
    OutputArgument,
    RowArgument,
    SampleArgument,
    StepBatch,
)
from forerun.diffusion.pipelines.call_graph import (
    CallGraph,
    TracedCall,
    split_branches,
    split_halves,
)
from forerun.diffusion.pipelines.calls import (
    NetworkCall,
    NotUnderstood,
    flatten_arguments,
    list_tensors,
    output_tensors,
    refuse_attention_memory,
    widen,
)
from forerun.diffusion.pipelines.guidance import GuidanceHints, GuidanceRule
from forerun.diffusion.pipelines.guidance_fit import fit_guidance
from forerun.diffusion.pipelines.network_state import refuse_stateful_hooks, tensor_version
from forerun.diffusion.pipelines.samples import find_sample
from forerun.diffusion.pipelines.times import (
    TimeArgument,
    TimeTable,
    find_time,
    is_number,
)

TIMESTEP_NAMES = ("timestep", "timesteps", "t")
TIME_NAMES = (*TIMESTEP_NAMES, "r", "sigma", "sigmas", "noise_level", "time")
POSITION_NAMES = (
    "rotary",
    "freqs",
    "img_ids",
    "txt_ids",
)  # of positions, which all rows share


@final
@dataclass(frozen=True)
class StepFacts:
    """What is known of a step besides its calls.

    Attributes:
        sample: that the scheduler's step received, `(B, *shape)`.
        received: the model output that it received.
        scales: of the scheduler for each step from this one on.
        tables: what an argument of time may be.
        hints: what the pipeline says of its guidance.
    """

    sample: Tensor
    received: Tensor
    scales: Tensor
    tables: Sequence[TimeTable]
    hints: GuidanceHints

    def find_sample(self, value: Any) -> SampleArgument | None:
        """Return how an argument of this step comes from its samples; None where it does not."""
        samples = widen(self.sample).unsqueeze(0)
        batch = StepBatch(torch.zeros(1, dtype=torch.long), samples)
        return find_sample(value, self.sample, self.scales, batch)


@dataclass(frozen=True)
class _Branching:
    """The calls whose outputs are the branches of the guidance, and that guidance."""

    calls: list[int]
    guidance: GuidanceRule
    halved: bool


def trace_calls(calls: Sequence[NetworkCall], facts: StepFacts) -> CallGraph:
    """Return the call graph of a step from the calls that a pipeline made in it.

    Raises:
        NotUnderstood: the model output that step received cannot be explained.
    """
    if not calls:
        raise NotUnderstood("no network was called between two steps of the scheduler")
    if getattr(facts.hints.guider, "momentum_buffer", None) is not None:
        raise NotUnderstood("the guider has a momentum, which it carries from step to step")
    for call in calls:
        refuse_attention_memory(call)
        refuse_stateful_hooks(call)
    return _Tracer(calls, facts).trace()


@final
class _Tracer:
    """Finds out what the calls of one step have to do with its samples and its model output."""

    def __init__(self, calls: Sequence[NetworkCall], facts: StepFacts) -> None:
        self._calls = calls
        self._facts = facts
        self._samples = [_find_call_sample(call, facts) for call in calls]
        self._sampled_calls = [index for index, sample in enumerate(self._samples) if sample is not None]

    def trace(self) -> CallGraph:
        """Return the call graph."""
        branching = self._find_branching()
        if branching is None:
            raise NotUnderstood(
                f"what the scheduler's step received does not follow from the output of {self._calls[-1].name} by "
                "guidance that is known: a fixed sum of branches, rescaled or not"
            )
        # a call that sees the samples is made even where its output is not needed
        needed = self._needed_calls({*branching.calls, *self._sampled_calls})
        self._refuse_unexplained(needed, branching)
        traced = [self._trace_call(index, needed[:place]) for place, index in enumerate(needed)]
        branch_calls = tuple(needed.index(index) for index in branching.calls)
        return CallGraph(tuple(traced), branch_calls, branching.guidance, branching.halved)

    def _find_branching(self) -> _Branching | None:
        """Return the last calls whose outputs explain the model output, as few as do."""
        for count in range(1, len(self._sampled_calls) + 1):
            chosen = self._sampled_calls[-count:]
            branches: list[Tensor] = []
            for index in chosen:
                split = self._split_output(index)
                if not split:
                    return None
                branches += split
            for halved, candidates in self._branch_candidates(branches):
                guidance = fit_guidance(candidates, self._facts.received, self._facts.hints)
                if guidance is not None:
                    return _Branching(chosen, guidance, halved)
        return None

    def _branch_candidates(self, branches: list[Tensor]) -> Iterator[tuple[bool, list[Tensor]]]:
        yield False, branches
        if not len(self._facts.sample) % 2:
            yield True, split_halves(branches, 1)

    def _split_output(self, index: int) -> list[Tensor]:
        """Return the branches of a call's output; none where its rows are not those of its samples."""
        sample = self._samples[index]
        assert sample is not None, "only calls that see the samples have branches"
        outputs = output_tensors(self._calls[index].output, listed=sample.listed)
        if not outputs or outputs[0].dim() < 2 or len(outputs[0]) != len(sample.observed):
            return []
        return split_branches(sample, outputs[0])

    def _needed_calls(self, chosen: set[int]) -> list[int]:
        """Return the calls that the chosen ones depend on, and they themselves, in order."""
        needed = set(chosen)
        for index in reversed(range(len(self._calls))):
            if index not in needed:
                continue
            request = self._calls[index].request
            for value in list_tensors((request.args, request.kwargs)):
                link = _find_output(value, self._calls[:index])
                if link is not None:
                    needed.add(link.call)
        return sorted(needed)

    def _refuse_unexplained(self, needed: Sequence[int], branching: _Branching) -> None:
        """Refuse a network of the graph that is also called with something else."""
        networks = {id(self._calls[index].network) for index in needed}
        for index, call in enumerate(self._calls):
            if index not in needed and id(call.network) in networks:
                name = self._calls[branching.calls[0]].name
                raise NotUnderstood(f"{name} is also called with something that does not follow from the samples")

    def _trace_call(self, index: int, earlier: Sequence[int]) -> TracedCall:
        call, sample = self._calls[index], self._samples[index]
        rows, copies, listed = len(self._facts.sample), 1, False
        if sample is not None:
            rows, copies, listed = (
                len(sample.observed),
                sample.copies,
                sample.listed,
            )
        earlier_calls = [self._calls[before] for before in earlier]
        leaves, spec = flatten_arguments(call.request.args, call.request.kwargs, listed=listed)
        sources: list[ArgumentSource] = []
        for path, value in leaves:
            link = _find_output(value, earlier_calls)
            sources.append(link or _find_source(path, value, BatchRows(rows, copies), self._facts))
        return TracedCall(call, tuple(sources), spec, rows, sample)


def _find_call_sample(call: NetworkCall, facts: StepFacts) -> SampleArgument | None:
    """Return the first argument of a call that is the samples."""
    for listed in (False, True):
        leaves, _ = flatten_arguments(call.request.args, call.request.kwargs, listed=listed)
        for _, value in leaves:
            sample = facts.find_sample(value)
            if sample is not None:
                return sample
    return None


def _find_output(value: Any, earlier: Sequence[NetworkCall]) -> OutputArgument | None:
    """Return the output of an earlier call that an argument is."""
    if not isinstance(value, Tensor) or value.dim() < 2:
        return None
    for index in reversed(range(len(earlier))):
        outputs = list_tensors(earlier[index].output)
        delivered = list_tensors(earlier[index].delivered)
        for place, (output, handed_over) in enumerate(zip(outputs, delivered, strict=True)):
            if value is handed_over:
                return OutputArgument(index, place)
            padded = OutputArgument(index, place, after_zeros=True)
            if _is_padded(value, output) and torch.equal(padded.from_output(output), value):
                return padded
    return None


def _is_padded(value: Tensor, output: Tensor) -> bool:
    return value.shape == (2 * len(output), *output.shape[1:])


def _find_source(path: str, value: Any, rows: BatchRows, facts: StepFacts) -> ArgumentSource:
    """Return where an argument comes from that is not an output of an earlier call."""
    sample = facts.find_sample(value)
    if sample is not None:
        return sample
    time = _find_time(path, value, rows, facts)
    if time is not None:
        return time
    is_position = any(word in path for word in POSITION_NAMES)
    if is_position or not _goes_with_rows(path, value, rows):
        return ConstantArgument(value, tensor_version(value))
    return RowArgument(value, rows.copies, tensor_version(value))


def _find_time(path: str, value: Any, rows: BatchRows, facts: StepFacts) -> TimeArgument | None:
    """Return how an argument follows the time, judged by its name and its value; None where it does not."""
    name = path.split(".")[-1]
    is_time = name in TIME_NAMES or name.startswith("timestep") or path == "args.1"
    if not is_time:
        return None
    time = find_time(value, rows, facts.tables)
    if time is None and is_number(value) and name in TIMESTEP_NAMES:
        raise NotUnderstood(f"the argument {path} of the network is {value!r}, which is not a known function of time")
    return time


def _goes_with_rows(path: str, value: Any, rows: BatchRows) -> bool:
    """Return whether an argument has an entry for every row of the batch."""
    if isinstance(value, list):
        return len(value) == rows.rows and not _is_weight_list(value)
    if not isinstance(value, Tensor) or not value.dim():
        return False
    if "encoder_hidden_states" in path and value.dim() > 1:
        return not len(value) % rows.rows  # perhaps several for each row, one a frame
    return len(value) == rows.rows


def _is_weight_list(value: list[Any]) -> bool:
    """Return whether a list is of weights, one for each of several networks, rather than of rows."""
    return all(isinstance(entry, float) for entry in value)
