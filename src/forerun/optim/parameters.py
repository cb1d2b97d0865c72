"""Parameters: the tensors that a loop trains, named, wherever they stand in what the user passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree
from forerun.optim.trainable import require_trainable

LossFunction = Callable[..., Any]


@final
class _ModuleHolder(nn.Module):
    """All modules of a tree in one, so that one `functional_call` puts tensors into all of them."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.modules_of_tree = nn.ModuleList(modules)

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()


@dataclass(frozen=True)
class TensorPlace:
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
        optimized: the tensors that the optimisers hold.
    """

    def __init__(self, tree: Tree, optimized: Sequence[Tensor]) -> None:
        self.tree = tree
        keyed_leaves, self._spec = pytree.tree_flatten_with_path(tree, is_leaf=_is_module)
        self._leaves = [leaf for _, leaf in keyed_leaves]
        paths = [f"params{pytree.keystr(path)}" for path, _ in keyed_leaves]
        modules = [leaf for leaf in self._leaves if _is_module(leaf)]
        self._holder = _ModuleHolder(modules)
        self.places: list[TensorPlace] = []
        self.tensors: list[Tensor] = []
        self._collect_tensors(paths, optimized)
        require_trainable(self.labels, self.tensors, optimized)

    @property
    def labels(self) -> list[str]:
        """What messages call the tensors."""
        return [place.label for place in self.places]

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.tensors[0].device

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers of all modules, with their names."""
        for name, buffer in self._holder.named_buffers():
            yield _name_in_module(name), buffer

    def build_tree(self, tensors: Sequence[Tensor]) -> Tree:
        """Return the tree with these tensors in place of the trained ones; a module becomes a dict of its own."""
        modules: dict[int, dict[str, Tensor]] = {}
        leaves = list(self._leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            if place.name is None:
                leaves[place.leaf] = tensor
            else:
                module_tensors = modules.setdefault(place.leaf, {})
                module_tensors[_name_in_module(place.name)] = tensor
        for index, named_tensors in modules.items():
            leaves[index] = named_tensors
        return pytree.tree_unflatten(leaves, self._spec)

    def split_tree(self, tree: Tree) -> list[Any]:
        """Return the entries of a tree that `build_tree` made: one for every trained tensor."""
        leaves = self._spec.flatten_up_to(tree)
        entries = []
        for place in self.places:
            entry = leaves[place.leaf]
            if place.name is not None:
                entry = entry[_name_in_module(place.name)]
            entries.append(entry)
        return entries

    def call_on_tree(self, function: Callable[[Tree], Any], tensors: Sequence[Tensor]) -> Any:
        """Return `function(tree)`, with `tensors` in place of the trained ones, inside modules too, while it runs."""
        leaves = list(self._leaves)
        module_tensors: dict[str, Tensor] = {}
        for place, tensor in zip(self.places, tensors, strict=True):
            if place.name is None:
                leaves[place.leaf] = tensor
            else:
                module_tensors[place.name] = tensor
        tree = pytree.tree_unflatten(leaves, self._spec)
        if not module_tensors:
            return function(tree)
        return torch.func.functional_call(self._holder, module_tensors, (lambda: function(tree),))

    def _collect_tensors(self, paths: Sequence[str], optimized: Sequence[Tensor]) -> None:
        """Collect the tensors of the tree, and of its modules those that are trained."""
        optimized_ids = {id(tensor) for tensor in optimized}
        for place, tensor in self._place_tensors(paths):
            is_trained = id(tensor) in optimized_ids and tensor.requires_grad
            if place.name is None or is_trained:
                self.places.append(place)
                self.tensors.append(tensor)

    def _place_tensors(self, paths: Sequence[str]) -> Iterator[tuple[TensorPlace, Tensor]]:
        """Yield every tensor of the tree, those of modules included, and where it stands."""
        module_count = 0
        for index, leaf in enumerate(self._leaves):
            path = paths[index]
            if isinstance(leaf, nn.Module):
                for name, tensor in leaf.named_parameters():
                    name_in_holder = f"modules_of_tree.{module_count}.{name}"
                    yield TensorPlace(f"{path}.{name}", index, name_in_holder), tensor
                module_count += 1
            elif isinstance(leaf, Tensor):
                yield TensorPlace(path, index, None), leaf
            else:
                raise TypeError(
                    f"{path} is {leaf!r}, neither a tensor nor a module; pass plain values to the loss by a closure: "
                    "Loop(params, optimizer, lambda params, step: loss(params, step, value))"
                )


def _is_module(leaf: Any) -> bool:
    return isinstance(leaf, nn.Module)


def _name_in_module(name: str) -> str:
    """Return a name without the two parts that the holder of all modules puts before it."""
    return name.split(".", 2)[2]
