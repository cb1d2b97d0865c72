"""Parameters: the tensors that a loop trains, named, wherever they stand in what the user passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree

Loss = Callable[..., Any]


@final
class _Holder(nn.Module):
    """All modules of a tree under one roof, so that one `functional_call` puts tensors into all of them."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.held = nn.ModuleList(modules)

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()


@dataclass(frozen=True)
class Place:
    """Where a trained tensor stands.

    Attributes:
        label: what messages call it.
        leaf: which leaf of the tree holds it.
        name: its name within the holder of all modules; None where the leaf is the tensor itself.
    """

    label: str
    leaf: int
    name: str | None


@final
class Parameters:
    """The trained tensors of a tree of tensors and modules: those that the optimisers hold.

    Args:
        tree: a tensor, a module, or any list, tuple or dict of them.
        trained: the tensors that the optimisers hold.
    """

    def __init__(self, tree: Tree, trained: Sequence[Tensor]) -> None:
        tree = list(tree) if isinstance(tree, Iterator) else tree  # `module.parameters()`
        keyed, self._spec = pytree.tree_flatten_with_path(tree, is_leaf=lambda leaf: isinstance(leaf, nn.Module))
        self._leaves = [leaf for _, leaf in keyed]
        paths = [f"params{pytree.keystr(path)}" for path, _ in keyed]
        self._holder = _Holder([leaf for leaf in self._leaves if isinstance(leaf, nn.Module)])
        wanted = {id(tensor) for tensor in trained}
        found = [
            (place, tensor)
            for place, tensor in self._found(paths)
            if place.name is None or (id(tensor) in wanted and tensor.requires_grad)
        ]
        self.places = [place for place, _ in found]
        self.tensors = [tensor for _, tensor in found]
        self._refuse(trained)

    @property
    def labels(self) -> list[str]:
        """What messages call the tensors."""
        return [place.label for place in self.places]

    @property
    def device(self) -> torch.device:
        """Of the tensors."""
        return self.tensors[0].device

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Buffers of all modules, with names."""
        return ((name.split(".", 2)[2], buffer) for name, buffer in self._holder.named_buffers())

    def tree(self, tensors: Sequence[Tensor]) -> Tree:
        """The tree with these tensors in place of the trained ones; a module becomes a dict of its trained tensors."""
        modules: dict[int, dict[str, Tensor]] = {}
        leaves = list(self._leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            if place.name is None:
                leaves[place.leaf] = tensor
            else:
                modules.setdefault(place.leaf, {})[place.name.split(".", 2)[2]] = tensor
        for index, named in modules.items():
            leaves[index] = named
        return pytree.tree_unflatten(leaves, self._spec)

    def leaves(self, tree: Tree) -> list[Any]:
        """What `tree` takes apart again: one entry for every trained tensor."""
        found = self._spec.flatten_up_to(tree)
        return [
            found[place.leaf] if place.name is None else found[place.leaf][place.name.split(".", 2)[2]]
            for place in self.places
        ]

    def call(self, loss: Loss, tensors: Sequence[Tensor], *arguments: Any) -> Any:
        """`loss(tree, *arguments)`, with `tensors` in place of the trained ones, in the tree and inside its modules."""
        leaves, named = list(self._leaves), {}
        for place, tensor in zip(self.places, tensors, strict=True):
            if place.name is None:
                leaves[place.leaf] = tensor
            else:
                named[place.name] = tensor
        tree = pytree.tree_unflatten(leaves, self._spec)
        if not named:
            return loss(tree, *arguments)
        return torch.func.functional_call(self._holder, named, (lambda: loss(tree, *arguments),))

    def _found(self, paths: Sequence[str]) -> Iterator[tuple[Place, Tensor]]:
        modules = 0
        for index, (leaf, path) in enumerate(zip(self._leaves, paths, strict=True)):
            if isinstance(leaf, nn.Module):
                for name, tensor in leaf.named_parameters():
                    yield Place(f"{path}.{name}", index, f"held.{modules}.{name}"), tensor
                modules += 1
            elif isinstance(leaf, Tensor):
                yield Place(path, index, None), leaf
            else:
                raise TypeError(
                    f"{path} is {leaf!r}, neither a tensor nor a module; pass plain values to the loss by a closure: "
                    "Loop(params, optimizer, lambda params, step: loss(params, step, value))"
                )

    def _refuse(self, trained: Sequence[Tensor]) -> None:
        """Refuse what cannot be trained."""
        if not self.tensors:
            raise ValueError(
                "the optimiser holds no tensor of params; build it over the same ones: "
                "Loop(params, torch.optim.Adam(params, 1e-2), loss)"
            )
        known, held = {id(tensor) for tensor in self.tensors}, {id(tensor) for tensor in trained}
        for place, tensor in zip(self.places, self.tensors, strict=True):
            _refuse_leaf(place.label, tensor, known_to_optimiser=id(tensor) in held)
        strangers = [tensor for tensor in trained if id(tensor) not in known and tensor.requires_grad]
        if strangers:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in strangers[:3])
            raise ValueError(
                f"the optimiser holds {len(strangers)} tensor(s) that are not among params, of shape {shapes}; pass "
                "all that it holds: Loop([params, others], optimizer, loss)"
            )
        _refuse_shared(self.labels, self.tensors)


def _refuse_leaf(label: str, tensor: Tensor, *, known_to_optimiser: bool) -> None:
    if not known_to_optimiser:
        raise ValueError(
            f"the optimiser does not hold {label}; build it over all of params, or hand {label} to the loss by a "
            "closure"
        )
    if not tensor.is_leaf:
        raise ValueError(
            f"{label} was computed from other tensors, so that no optimiser can train it; pass {label}.detach()"
            ".requires_grad_(), or the tensors that it comes from"
        )
    if not tensor.requires_grad:
        raise ValueError(
            f"{label} is frozen (requires_grad=False); call {label}.requires_grad_(), or leave it out of params and of "
            "the optimiser and hand it to the loss by a closure"
        )
    if not tensor.is_floating_point():
        raise TypeError(f"{label} is {tensor.dtype}; carry torch.view_as_real(z) of complex numbers instead")


def _refuse_shared(labels: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Refuse a memory that is trained twice."""
    spans = sorted(
        (tensor.data_ptr(), tensor.data_ptr() + _reach(tensor), label)
        for label, tensor in zip(labels, tensors, strict=True)
        if tensor.numel()
    )
    for (_, end, label), (start, _, other) in pairwise(spans):
        if start < end:
            raise ValueError(
                f"{label} and {other} share their memory, so that a step of one moves the other; pass it once, or "
                ".clone() one; tied weights belong inside a module, which names them once"
            )


def _reach(tensor: Tensor) -> int:
    """Bytes from the first element to behind the last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()
