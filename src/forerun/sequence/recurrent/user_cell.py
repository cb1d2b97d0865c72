"""The cell as its user wrote it: in which order it takes its arguments, and what it does besides returning a state."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

from forerun.engine.numerics.tree import Tree, tree_map, tree_tensors

TORCH_CELL_NAMES = frozenset({"GRUCell", "LSTMCell", "RNNCell"})
INPUT_NAMES = frozenset({"input", "inputs", "input_", "inp", "x", "xs", "xt", "x_t"})
STATE_NAMES = frozenset({"h", "hx", "hidden", "hidden_state", "state", "states", "h_prev", "hprev", "h_t", "hc"})
CALL_NAMES = frozenset({"forward", "__call__", "_call_impl"})
WRAPPER_ATTRIBUTES: Final = ("_orig_mod", "_torchdynamo_orig_callable", "__wrapped__")


@dataclass(frozen=True)
class UserCell:
    """A cell as its user calls it.

    Attributes:
        cell: a cell of `torch.nn`, called `cell(x, h)`, or a function or module, called `cell(h, x)`.
        input_first: whether it is called `cell(x, h)`.
        copies: whether it changes what it gets, and so gets copies.
    """

    cell: Callable[[Any, Any], Any]
    input_first: bool
    copies: bool = False

    @classmethod
    def from_callable(cls, cell: Callable[[Any, Any], Any]) -> UserCell:
        """Return the cell with the order of its arguments.

        Raises:
            TypeError: it cannot be called, is a whole `torch.nn.GRU`, or names its arguments in the other order.
        """
        inner = unwrap_cell(cell)
        if not callable(cell) or isinstance(inner, nn.RNNBase):
            raise TypeError(
                f"cell is {type(inner).__name__}, which is not one step of a recurrence; pass a function (h, x) -> h "
                "or torch.nn.GRUCell, and a torch.nn.GRU to forerun.sequence.RNN(module)"
            )
        first, second = _name_arguments(inner)
        if is_torch_cell(inner):
            return cls(cell, first not in STATE_NAMES)
        if first in INPUT_NAMES and second in STATE_NAMES:
            raise TypeError(
                f"{_name_callable(inner)} takes ({first}, {second}), and scan calls cell(h, x); write "
                "scan(lambda h, x: cell(x, h), h0, xs)"
            )
        return cls(cell, False)

    def __call__(self, hidden: Tree, x: Tree) -> Tree:
        if self.copies:
            hidden = tree_map(torch.Tensor.clone, hidden)
            x = tree_map(torch.Tensor.clone, x)
        if self.input_first:
            return self.cell(x, hidden)
        return self.cell(hidden, x)

    @property
    def identity(self) -> Hashable:
        """What is the same for the same cell: its code, and what it closes over."""
        inner = unwrap_cell(self.cell)
        cells = getattr(inner, "__closure__", None) or ()
        contents = tuple(id(_read_closure(cell)) for cell in cells)
        return self.kind, contents or id(inner)

    def list_modules(self) -> list[nn.Module]:
        """Return the modules that the cell is, or that its function can see."""
        return _find_modules(unwrap_cell(self.cell))

    def describe_hooks(self) -> str | None:
        """Say which hooks the cell has that must run at every step; None where it has none."""
        modules = self.list_modules()
        if modules and _has_any_global_hook():
            return "hooks of all modules must run at every step"
        for module in modules:
            for path, layer in module.named_modules():
                name = _name_hook(layer)
                if name is not None:
                    place = path or "itself"
                    return f"its {type(layer).__name__} ({place}) has a {name}, which must run at every step"
        return None

    @property
    def kind(self) -> Hashable:
        """What is the same for cells of the same code."""
        inner = unwrap_cell(self.cell)
        for name in ("__code__", "kind"):
            kind: Hashable = getattr(inner, name, None)
            if kind is not None:
                return kind
        cell_type: type = type(inner)
        return cell_type


def unwrap_cell(cell: Any) -> Any:
    """Return what `torch.compile`, `functools.partial` and decorators wrap, and the module of its own method."""
    inner = cell
    while True:
        wrapped = _unwrap_once(inner)
        if wrapped is None:
            return inner
        inner = wrapped


def is_torch_cell(inner: Any) -> bool:
    """Return whether a cell is one of `torch.nn`, a subclass of one, or a script of one."""
    if isinstance(inner, nn.RNNCellBase):
        return True
    return getattr(inner, "original_name", None) in TORCH_CELL_NAMES


def read_versions(tree: Tree) -> list[int]:
    """Return how often each tensor was changed in place; nothing of tensors that do not count it."""
    return [leaf._version for leaf in tree_tensors(tree) if not leaf.is_inference()]


def apply_weight_hooks(module: nn.Module) -> None:
    """Let pruning and weight norm set the weights, as they do before every call."""
    for hook in module._forward_pre_hooks.values():
        if _sets_weights(hook):
            hook(module, ())


def list_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a module by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _unwrap_once(cell: Any) -> Any:
    if isinstance(cell, functools.partial):
        if cell.args or cell.keywords:
            return None
        return cell.func
    attributes = getattr(cell, "__dict__", {})
    modules = attributes.get("_modules", {})
    for name in WRAPPER_ATTRIBUTES:
        if name in modules:
            return modules[name]
        if name in attributes:
            return attributes[name]
    owner = getattr(cell, "__self__", None)
    if isinstance(owner, nn.Module) and getattr(cell, "__name__", None) in CALL_NAMES:
        return owner
    return None


def _find_modules(inner: Any) -> list[nn.Module]:
    """Return the modules among what a function closes over, reads from its file, or is bound to; or itself."""
    if isinstance(inner, nn.Module):
        return [inner]
    values = [getattr(inner, "__self__", None), *getattr(inner, "__dict__", {}).values()]
    for cell in getattr(inner, "__closure__", None) or ():
        values.append(_read_closure(cell))
    code = getattr(inner, "__code__", None)
    if code is not None:
        values += [inner.__globals__.get(name) for name in code.co_names]
    return [value for value in values if isinstance(value, nn.Module)]


def _read_closure(cell: Any) -> Any:
    """Return what a cell of a closure holds; None where it is still empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _name_arguments(inner: Any) -> tuple[str, str]:
    """Return the names of the first two arguments of a cell; empty where they are not to be seen."""
    function = inner
    if isinstance(inner, nn.Module):
        function = inner.forward
    try:
        names = [name.lower() for name in inspect.signature(function).parameters]
    except (TypeError, ValueError):
        names = []
    first, second, *_ = [*names, "", ""]
    return first, second


def _name_callable(inner: Any) -> str:
    return getattr(inner, "__name__", type(inner).__name__)


def _name_hook(layer: nn.Module) -> str | None:
    if layer._forward_hooks:
        return "forward hook"
    if layer._backward_hooks or layer._backward_pre_hooks:
        return "backward hook"
    if not all(_sets_weights(hook) for hook in layer._forward_pre_hooks.values()):
        return "forward pre-hook"
    return None


def _sets_weights(hook: Any) -> bool:
    """Return whether a hook is one by which torch itself prunes or normalises weights."""
    return isinstance(hook, BasePruningMethod | WeightNorm)
