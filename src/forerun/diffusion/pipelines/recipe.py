"""The recipe of a step: which networks a pipeline calls with what, learnt from one step that it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines import guidance
from forerun.diffusion.pipelines.guidance import Guidance
from forerun.diffusion.pipelines.leaves import (
    Constant,
    Leaf,
    Moment,
    Output,
    Rows,
    Sample,
    find_sample,
    find_time,
)

TIME = ("timestep", "timesteps", "t", "r", "sigma", "sigmas", "noise_level", "time")  # names of arguments


class NotUnderstood(Exception):
    """A step of the pipeline does something that the adapter cannot repeat; the message says what."""


@dataclass
class Call:
    """A call of a network that a pipeline made."""

    name: str
    module: nn.Module
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


@dataclass(frozen=True)
class Known:
    """What is known of a step besides its calls.

    Attributes:
        sample: that the scheduler's step received, `(B, *shape)`.
        received: the model output that it received.
        scales: of the scheduler for each step from this one on.
        tables: numbers that an argument of time may be, one each step from this one on.
        guidance_scales: that the pipeline names.
    """

    sample: Tensor
    received: Tensor
    scales: Tensor
    tables: Sequence[Tensor]
    guidance_scales: Sequence[float]

    @property
    def moment(self) -> Moment:
        """This step as a moment."""
        return Moment(torch.zeros(1, dtype=torch.long), _wide(self.sample).unsqueeze(0))


@dataclass(frozen=True)
class Part:
    """One call, to be made for many steps."""

    call: Call
    leaves: tuple[Leaf, ...]
    spec: pytree.TreeSpec
    rows: int  # of one step
    sample: Sample | None

    def make(self, moment: Moment) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for the steps of a moment."""
        made = pytree.tree_unflatten([leaf.make(moment) for leaf in self.leaves], self.spec)
        args, kwargs = made
        return tuple(args), dict(kwargs)


@dataclass(frozen=True)
class Recipe:
    """All calls of a step in order, and what becomes of their outputs."""

    parts: tuple[Part, ...]
    branching: tuple[int, ...]  # the parts whose outputs are branches of the guidance
    guide: Guidance

    def __call__(self, moment: Moment) -> tuple[Tensor, list[list[Tensor]]]:
        """Model outputs `(W, B, C, ...)` of the steps of a moment; and of every part the tensors it returned."""
        outputs: list[list[Tensor]] = []
        for part in self.parts:
            args, kwargs = part.make(Moment(moment.steps, moment.samples, outputs))
            outputs.append(returned(part.call.call(*args, **kwargs), part.rows * len(moment.steps)))
        return self.combine(outputs, len(moment.steps), moment.samples.shape[1]), outputs

    def combine(self, outputs: Sequence[Sequence[Tensor]], steps: int, batch: int) -> Tensor:
        """Model outputs `(W, B, C, ...)` from what the parts returned for `steps` steps of `batch` samples."""
        branches = [
            branch
            for index in self.branching
            for branch in _branches(self.parts[index], outputs[index][0], steps)
        ]
        guided = self.guide(branches)
        return guided.reshape(steps, batch, *guided.shape[1:])


def learn(calls: Sequence[Call], known: Known) -> Recipe:
    """The recipe of a step from the calls that a pipeline made in it.

    Raises:
        NotUnderstood: the model output that step received cannot be explained.
    """
    if not calls:
        raise NotUnderstood("no network was called between two steps of the scheduler")
    found = _branching(calls, known)
    if found is None:
        raise NotUnderstood(
            f"what the scheduler's step received does not follow from the output of {calls[-1].name} by guidance that "
            "is known: a fixed sum of branches, rescaled or not"
        )
    chosen, guide = found
    needed = _needed(calls, chosen)
    parts: list[Part] = []
    for index in needed:
        parts.append(_part(calls[index], [calls[earlier] for earlier in needed[: len(parts)]], known))
    return Recipe(tuple(parts), tuple(needed.index(index) for index in chosen), guide)


def _branching(calls: Sequence[Call], known: Known) -> tuple[list[int], Guidance] | None:
    """The last calls whose outputs explain the model output, as few as do."""
    direct = [index for index, call in enumerate(calls) if _sample_of(call, known) is not None]
    for count in range(1, len(direct) + 1):
        chosen = direct[-count:]
        branches: list[Tensor] = []
        for index in chosen:
            sample = _sample_of(calls[index], known)
            found = [] if sample is None else returned(calls[index].output, len(sample.seen))
            if sample is None or not found or found[0].dim() < 2 or len(found[0]) != len(sample.seen):
                return None
            branches.extend(_split(sample, found[0], 1))
        guide = guidance.learn(branches, known.received, known.guidance_scales)
        if guide is not None:
            return chosen, guide
    return None


def _needed(calls: Sequence[Call], chosen: Sequence[int]) -> list[int]:
    """The calls that the chosen ones depend on, and they themselves, in order."""
    needed = set(chosen)
    for index in range(len(calls) - 1, -1, -1):
        if index in needed:
            inputs = {id(leaf) for leaf in tensors((calls[index].args, calls[index].kwargs))}
            needed |= {
                earlier for earlier in range(index) if inputs & {id(leaf) for leaf in tensors(calls[earlier].output)}
            }
    return sorted(needed)


def _part(call: Call, before: Sequence[Call], known: Known) -> Part:
    sample = _sample_of(call, known)
    rows = len(sample.seen) if sample is not None else len(known.sample)
    outputs = {
        id(leaf): Output(index, place)
        for index, earlier in enumerate(before)
        for place, leaf in enumerate(tensors(earlier.output))
    }
    flat, spec = flatten(call.args, call.kwargs)
    leaves = []
    for path, value in flat:
        if isinstance(value, Tensor) and id(value) in outputs:
            leaves.append(outputs[id(value)])
            continue
        leaves.append(_leaf(path, value, rows, known))
    return Part(call, tuple(leaves), spec, rows, sample)


def _leaf(path: str, value: Any, rows: int, known: Known) -> Leaf:
    seen = find_sample(value, known.sample, known.scales, known.moment)
    if seen is not None:
        return seen
    if path.split(".")[-1] in TIME or path == "args.1":
        time = find_time(value, rows, known.tables)
        if time is not None:
            return time
        if _numeric(value) and path.split(".")[-1] in TIME[:3]:
            raise NotUnderstood(f"the argument {path} of the network is {value!r}, which is no known function of time")
    if (isinstance(value, Tensor) and value.dim() and len(value) == rows) or (
        isinstance(value, list) and len(value) == rows
    ):
        return Rows(value)
    return Constant(value)


def flatten(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], pytree.TreeSpec]:
    """Arguments as leaves with their paths; a list of rows is one leaf."""
    tree = ([_held(arg) for arg in args], {name: _held(arg) for name, arg in kwargs.items()})
    with_paths, spec = pytree.tree_flatten_with_path(tree, is_leaf=lambda node: isinstance(node, _Whole))
    flat = []
    for path, leaf in with_paths:
        keys = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        keys[0] = "args" if keys[0] == "0" else "kwargs"
        flat.append((".".join(keys), leaf.value if isinstance(leaf, _Whole) else leaf))
    return flat, spec


@dataclass(frozen=True)
class _Whole:
    """A list that is one argument, an entry for each row."""

    value: list[Any]


def _held(argument: Any) -> Any:
    if type(argument) is not list or not argument:
        return argument
    shapes = {each.shape for each in argument if isinstance(each, Tensor)}
    return argument if len(shapes) > 1 else _Whole(argument)


def _sample_of(call: Call, known: Known) -> Sample | None:
    """The first argument that is the samples."""
    for _, value in flatten(call.args, call.kwargs)[0]:
        found = find_sample(value, known.sample, known.scales, known.moment)
        if found is not None:
            return found
    return None


def _branches(part: Part, output: Tensor, steps: int) -> list[Tensor]:
    assert part.sample is not None, "a branch is an output of a call that saw the sample"
    return _split(part.sample, output, steps)


def _split(sample: Sample, output: Tensor, steps: int) -> list[Tensor]:
    """The branches `(W * B, C, ...)` of an output `(W * n, C, ...)`, in the axes of the samples."""
    each = output.reshape(steps, sample.copies, -1, *output.shape[1:])
    return [sample.layout.back(each[:, copy].flatten(0, 1)) for copy in range(sample.copies)]


def tensors(tree: Any) -> list[Tensor]:
    """The tensors of what a network takes or returns."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def returned(output: Any, rows: int) -> list[Tensor]:
    """The tensors of what a network returned; a list of `rows` tensors of one shape is stacked to one."""
    listed = _listed(output, rows)
    return tensors(output) if listed is None else [torch.stack(listed)]


def like(output: Any, found: Sequence[Tensor], rows: int) -> Any:
    """What a network returned once, with other tensors in it."""
    given = iter(found if _listed(output, rows) is None else found[0].unbind())
    return pytree.tree_map_only(Tensor, lambda leaf: next(given), output)


def _listed(output: Any, rows: int) -> list[Tensor] | None:
    inner = next(iter(output.values() if isinstance(output, dict) else output), None) if _holds(output) else output
    found = tensors(inner) if isinstance(inner, list) else []
    one_shape = len({leaf.shape for leaf in found}) == 1 and len(found) == rows == len(tensors(output))
    return found if one_shape else None


def _holds(output: Any) -> bool:
    return isinstance(output, tuple | dict) and len(output) > 0


def _numeric(value: Any) -> bool:
    return isinstance(value, Tensor | int | float) and not isinstance(value, bool)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
