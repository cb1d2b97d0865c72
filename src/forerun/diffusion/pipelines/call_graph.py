"""CallGraph: which networks a pipeline calls with what in a step, ready to be called for many steps together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.argument_sources import (
    ArgumentSource,
    SampleArgument,
    StepBatch,
)
from forerun.diffusion.pipelines.calls import NetworkCall, flatten_arguments, has_plain_arguments, output_tensors
from forerun.diffusion.pipelines.guidance import GuidanceRule
from forerun.diffusion.pipelines.watched_method import PendingCall


@final
@dataclass(frozen=True)
class TracedCall:
    """One call of a step, to be made for many steps.

    Attributes:
        call: as the pipeline made it.
        sources: of its arguments, leaf by leaf.
        spec: how the leaves make up the arguments.
        rows: of one step.
        sample: how the call gets the samples; None where it does not.
    """

    call: NetworkCall
    sources: tuple[ArgumentSource, ...]
    spec: pytree.TreeSpec
    rows: int
    sample: SampleArgument | None

    @property
    def copies(self) -> int:
        """Branches along the batch."""
        return 1 if self.sample is None else self.sample.copies

    @property
    def listed(self) -> bool:
        """Whether rows are handed over as lists."""
        return self.sample is not None and self.sample.listed

    @cached_property
    def leaf_paths(self) -> list[str]:
        """The path of every leaf of the arguments, such as `kwargs.encoder_hidden_states`."""
        request = self.call.request
        leaves, _ = flatten_arguments(request.args, request.kwargs, listed=self.listed)
        return [path for path, _ in leaves]

    def list_leaves(self, request: PendingCall) -> list[Any] | None:
        """Return the leaves of the arguments of another call; None where these are put together otherwise."""
        if self._has_plain_arguments and has_plain_arguments(request):
            own = self.call.request
            if len(request.args) != len(own.args) or list(request.kwargs) != list(own.kwargs):
                return None
            return [*request.args, *request.kwargs.values()]
        leaves, spec = flatten_arguments(request.args, request.kwargs, listed=self.listed)
        return [leaf for _, leaf in leaves] if spec == self.spec else None

    @cached_property
    def _has_plain_arguments(self) -> bool:
        return not self.listed and has_plain_arguments(self.call.request)

    def build_arguments(self, batch: StepBatch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for the steps of a batch."""
        leaves = [source.build(batch) for source in self.sources]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return tuple(args), dict(kwargs)

    def run(self, batch: StepBatch) -> list[Tensor]:
        """Return the tensors of the outputs for the steps of a batch."""
        args, kwargs = self.build_arguments(batch)
        output = self.call.request.function(*args, **kwargs)
        return output_tensors(output, listed=self.listed)


@final
@dataclass(frozen=True)
class CallGraph:
    """All calls of a step in order, and what becomes of their outputs.

    Attributes:
        calls: in order; a later one may take the output of an earlier one.
        branch_calls: the calls whose outputs are branches of the guidance.
        guidance: what makes the model output of the branches.
        halved: whether the branches are halves of the samples, which are twice the same.
    """

    calls: tuple[TracedCall, ...]
    branch_calls: tuple[int, ...]
    guidance: GuidanceRule
    halved: bool = False

    def __call__(self, batch: StepBatch) -> tuple[Tensor, list[list[Tensor]]]:
        """Return model outputs `(W, B, C, ...)` of the steps of a batch; and of every call the tensors it returned."""
        outputs: list[list[Tensor]] = []
        for call in self.calls:
            partial = StepBatch(batch.steps, batch.samples, outputs)
            outputs.append(call.run(partial))
        steps, size = batch.samples.shape[:2]
        combined = self.combine_outputs(outputs, steps, size)
        return combined, outputs

    def combine_outputs(
        self,
        outputs: Sequence[Sequence[Tensor]],
        steps: int,
        size: int,
    ) -> Tensor:
        """Return model outputs `(W, B, C, ...)` from what the calls returned for `steps` steps of `size` samples."""
        branches: list[Tensor] = []
        for index in self.branch_calls:
            sample = self.calls[index].sample
            assert sample is not None, "a branch is an output of a call that saw the sample"
            branches += split_branches(sample, outputs[index][0])
        if self.halved:
            branches = split_halves(branches, steps)
        guided = self.guidance(branches)
        return guided.reshape(steps, size, *guided.shape[1:])


def split_branches(sample: SampleArgument, output: Tensor) -> list[Tensor]:
    """Return the branches `(W * B, C, ...)` of an output `(n * W, C, ...)`, in the axes of the samples."""
    return [sample.layout.to_sample(branch) for branch in output.chunk(sample.copies)]


def split_halves(branches: Sequence[Tensor], steps: int) -> list[Tensor]:
    """Return each half `(W, B/2)` of every branch `(W * B, ...)`, twice."""
    halves: list[Tensor] = []
    for branch in branches:
        split = branch.reshape(steps, 2, -1, *branch.shape[1:])
        for half in split.unbind(1):
            doubled = torch.cat([half, half], 1)
            halves.append(doubled.flatten(0, 1))
    return halves
