"""The recipe of a step: which networks a pipeline calls with what, learnt from one step that it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines import guidance
from forerun.diffusion.pipelines.argument_sources import (
    ArgumentSource,
    Batch,
    Constant,
    Output,
    Rows,
    Sample,
    StepBatch,
    Table,
    find_sample,
    find_time,
)
from forerun.diffusion.pipelines.calls import Call, NotUnderstood, flatten, forgets, returned, tensors
from forerun.diffusion.pipelines.guidance import Guidance, GuiderReplay, Named

TIME = ("timestep", "timesteps", "t", "r", "sigma", "sigmas", "noise_level", "time")  # names of arguments
PLACES = ("rotary", "freqs", "img_ids", "txt_ids")  # names of positions, which all rows share


@dataclass(frozen=True)
class Known:
    """What is known of a step besides its calls.

    Attributes:
        sample: that the scheduler's step received, `(B, *shape)`.
        received: the model output that it received.
        scales: of the scheduler for each step from this one on.
        tables: what an argument of time may be.
        named: what the pipeline says of its guidance.
    """

    sample: Tensor
    received: Tensor
    scales: Tensor
    tables: Sequence[Table]
    named: Named

    @property
    def moment(self) -> StepBatch:
        """This step as a moment."""
        return StepBatch(torch.zeros(1, dtype=torch.long), _wide(self.sample).unsqueeze(0))


@dataclass(frozen=True)
class Part:
    """One call, to be made for many steps."""

    call: Call
    leaves: tuple[ArgumentSource, ...]
    spec: pytree.TreeSpec
    rows: int  # of one step
    sample: Sample | None

    @property
    def copies(self) -> int:
        """Branches along the batch."""
        return 1 if self.sample is None else self.sample.copies

    @property
    def listed(self) -> bool:
        """Whether rows are handed over as lists."""
        return self.sample is not None and self.sample.listed

    def make(self, moment: StepBatch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for the steps of a moment."""
        made = pytree.tree_unflatten([leaf.make(moment) for leaf in self.leaves], self.spec)
        args, kwargs = made
        return tuple(args), dict(kwargs)


@dataclass(frozen=True)
class CallGraph:
    """All calls of a step in order, and what becomes of their outputs."""

    parts: tuple[Part, ...]
    branching: tuple[int, ...]  # the parts whose outputs are branches of the guidance
    guide: Guidance | GuiderReplay
    halved: bool = False  # the branches are halves of the samples, which are twice the same

    def __call__(self, moment: StepBatch) -> tuple[Tensor, list[list[Tensor]]]:
        """Model outputs `(W, B, C, ...)` of the steps of a moment; and of every part the tensors it returned."""
        outputs: list[list[Tensor]] = []
        for part in self.parts:
            args, kwargs = part.make(StepBatch(moment.steps, moment.samples, outputs))
            outputs.append(returned(part.call.asked.function(*args, **kwargs), listed=part.listed))
        return self.combine(outputs, len(moment.steps), moment.samples.shape[1]), outputs

    def combine(self, outputs: Sequence[Sequence[Tensor]], steps: int, batch: int) -> Tensor:
        """Model outputs `(W, B, C, ...)` from what the parts returned for `steps` steps of `batch` samples."""
        branches = [branch for index in self.branching for branch in _branches(self.parts[index], outputs[index][0])]
        guided = self.guide(_halves(branches, steps) if self.halved else branches)
        return guided.reshape(steps, batch, *guided.shape[1:])


def learn(calls: Sequence[Call], known: Known) -> CallGraph:
    """The recipe of a step from the calls that a pipeline made in it.

    Raises:
        NotUnderstood: the model output that step received cannot be explained.
    """
    if not calls:
        raise NotUnderstood("no network was called between two steps of the scheduler")
    if getattr(known.named.guider, "momentum_buffer", None) is not None:
        raise NotUnderstood("the guider has a momentum, which it carries from step to step")
    for call in calls:
        forgets(call)
    found = _branching(calls, known)
    if found is None:
        raise NotUnderstood(
            f"what the scheduler's step received does not follow from the output of {calls[-1].name} by guidance that "
            "is known: a fixed sum of branches, rescaled or not"
        )
    chosen, guide, halved = found
    seeing = [index for index, call in enumerate(calls) if _sample_of(call, known) is not None]
    needed = _needed(calls, [*chosen, *seeing])  # those that tell nothing are made all the same
    known_networks = {id(calls[index].network) for index in needed}
    if any(id(call.network) in known_networks for index, call in enumerate(calls) if index not in needed):
        raise NotUnderstood(
            f"{calls[chosen[0]].name} is also called with something that does not follow from the samples"
        )
    parts: list[Part] = []
    for index in needed:
        parts.append(_part(calls[index], [calls[earlier] for earlier in needed[: len(parts)]], known))
    return CallGraph(tuple(parts), tuple(needed.index(index) for index in chosen), guide, halved)


def _branching(calls: Sequence[Call], known: Known) -> tuple[list[int], Guidance | GuiderReplay, bool] | None:
    """The last calls whose outputs explain the model output, as few as do."""
    direct = [index for index, call in enumerate(calls) if _sample_of(call, known) is not None]
    for count in range(1, len(direct) + 1):
        chosen = direct[-count:]
        branches: list[Tensor] = []
        for index in chosen:
            sample = _sample_of(calls[index], known)
            found = [] if sample is None else returned(calls[index].output, listed=sample.listed)
            if sample is None or not found or found[0].dim() < 2 or len(found[0]) != len(sample.seen):
                return None
            branches.extend(_split(sample, found[0]))
        for halved in (False, True) if not len(known.sample) % 2 else (False,):
            guide = guidance.learn(_halves(branches, 1) if halved else branches, known.received, known.named)
            if guide is not None:
                return chosen, guide, halved
    return None


def _needed(calls: Sequence[Call], chosen: Sequence[int]) -> list[int]:
    """The calls that the chosen ones depend on, and they themselves, in order."""
    needed = set(chosen)
    for index in range(len(calls) - 1, -1, -1):
        if index in needed:
            inputs = tensors((calls[index].asked.args, calls[index].asked.kwargs))
            needed |= {link.call for link in (_link(value, calls[:index]) for value in inputs) if link is not None}
    return sorted(needed)


def _link(value: Any, before: Sequence[Call]) -> Output | None:
    """The output of an earlier call that an argument is."""
    if not isinstance(value, Tensor) or value.dim() < 2:
        return None
    for index in range(len(before) - 1, -1, -1):
        leaves = zip(tensors(before[index].output), tensors(before[index].handed), strict=True)
        for place, (leaf, handed) in enumerate(leaves):
            if value is handed:
                return Output(index, place)
            found = Output(index, place, behind_zeros=True)
            if value.shape == (2 * len(leaf), *leaf.shape[1:]) and torch.equal(found.of(leaf), value):
                return found
    return None


def _part(call: Call, before: Sequence[Call], known: Known) -> Part:
    sample = _sample_of(call, known)
    rows = len(sample.seen) if sample is not None else len(known.sample)
    copies = 1 if sample is None else sample.copies
    flat, spec = flatten(call.asked.args, call.asked.kwargs, listed=sample is not None and sample.listed)
    leaves = [_link(value, before) or _leaf(path, value, Batch(rows, copies), known) for path, value in flat]
    return Part(call, tuple(leaves), spec, rows, sample)


def _leaf(path: str, value: Any, batch: Batch, known: Known) -> ArgumentSource:
    seen = find_sample(value, known.sample, known.scales, known.moment)
    if seen is not None:
        return seen
    name = path.split(".")[-1]
    if name in TIME or name.startswith("timestep") or path == "args.1":
        time = find_time(value, batch, known.tables)
        if time is not None:
            return time
        if _numeric(value) and name in TIME[:3]:
            raise NotUnderstood(f"the argument {path} of the network is {value!r}, which is no known function of time")
    if any(word in path for word in PLACES):
        return Constant(value)
    if (
        isinstance(value, Tensor)
        and "encoder_hidden_states" in path
        and value.dim() > 1
        and not len(value) % batch.rows
    ):
        return Rows(value, batch.copies)  # perhaps several for each row, one a frame
    rows = isinstance(value, list) and not _weights(value) if not isinstance(value, Tensor) else value.dim() > 0
    return Rows(value, batch.copies) if rows and len(value) == batch.rows else Constant(value)


def _weights(value: list[Any]) -> bool:
    """Whether a list is of weights, one for each of several networks, rather than of rows."""
    return all(isinstance(each, float) for each in value)


def _sample_of(call: Call, known: Known) -> Sample | None:
    """The first argument that is the samples."""
    for listed in (False, True):
        for _, value in flatten(call.asked.args, call.asked.kwargs, listed=listed)[0]:
            found = find_sample(value, known.sample, known.scales, known.moment)
            if found is not None:
                return found
    return None


def _branches(part: Part, output: Tensor) -> list[Tensor]:
    assert part.sample is not None, "a branch is an output of a call that saw the sample"
    return _split(part.sample, output)


def _split(sample: Sample, output: Tensor) -> list[Tensor]:
    """The branches `(W * B, C, ...)` of an output `(n * W, C, ...)`, in the axes of the samples."""
    return [sample.layout.back(branch) for branch in output.chunk(sample.copies)]


def _halves(branches: Sequence[Tensor], steps: int) -> list[Tensor]:
    """Each half `(W, B/2)` of every branch `(W * B, ...)`, twice."""
    found = []
    for branch in branches:
        split = branch.reshape(steps, 2, -1, *branch.shape[1:])
        found += [split[:, half].repeat(1, 2, *[1] * (branch.dim() - 1)).flatten(0, 1) for half in (0, 1)]
    return found


def _numeric(value: Any) -> bool:
    return isinstance(value, Tensor | int | float) and not isinstance(value, bool)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
