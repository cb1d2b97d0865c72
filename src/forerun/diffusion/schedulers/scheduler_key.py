"""The key of a scheduler: all that its steps depend on, by value, so that what was probed once is found again.

A key is compared whole, never by a hash alone. What cannot be read by value has no key: a scheduler of the user's own
class, whose steps may read anything, and one that keeps objects such as a noise sampler.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from forerun.diffusion.schedulers.quirks import own_attributes
from forerun.diffusion.schedulers.replay import VaryingArgument

KEY_ELEMENTS: Final = 2**16  # of a tensor, that are read at most
KNOWN_PACKAGES: Final = {"diffusers", "builtins", "huggingface_hub", "abc"}
COMPARED_AS_THEY_ARE: Final = (
    bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device, types.FunctionType,
    types.BuiltinFunctionType, property, staticmethod, classmethod,
)  # fmt: skip


class NoKey(Exception):
    """Something that the steps of a scheduler may depend on cannot be read by value."""


def describe_scheduler(
    scheduler: Any, sample: Tensor, timesteps: Sequence[Any], *, channels: int, step_options: Mapping[str, Any]
) -> Hashable | None:
    """Return the key of the steps of a scheduler from where it stands; None where it has none.

    Args:
        scheduler: a diffusers scheduler, before its first step or between two.
        sample: that its next step gets.
        timesteps: of the steps to come.
        channels: of the model output over those of the sample.
        step_options: further arguments of its steps.
    """
    try:
        return (
            _describe_class(type(scheduler)),
            _read_value(own_attributes(scheduler)),
            _read_times(timesteps),
            _read_value(dict(step_options)),
            (tuple(sample.shape), sample.dtype, channels, torch.get_default_dtype()),
        )
    except NoKey:
        return None


def _describe_class(kind: type) -> Hashable:
    """Return a class with its methods and attributes as they are now; they may be replaced."""
    parts: list[Hashable] = []
    for base in kind.__mro__:
        if base.__module__.split(".")[0] not in KNOWN_PACKAGES:
            raise NoKey
        if base is not object:
            parts.append((base, _read_class_entries(base)))
    return tuple(parts)


def _read_class_entries(base: type) -> Hashable:
    entries = []
    for name, value in vars(base).items():
        if not name.startswith("__"):
            entries.append((name, _read_value(value)))
    return tuple(entries)


def _read_times(timesteps: Sequence[Any]) -> Hashable:
    if timesteps and all(isinstance(time, Tensor) for time in timesteps):
        return _read_tensor(torch.stack(list(timesteps)))
    return _read_value(list(timesteps))


def _read_value(value: Any) -> Hashable:
    """Return a value that is equal to that of an equal one, and to no other's.

    Raises:
        NoKey: it cannot be read.
    """
    if isinstance(value, COMPARED_AS_THEY_ARE):
        return (type(value), value)
    if isinstance(value, Tensor):
        return _read_tensor(value)
    if type(value).__module__ == "numpy" and not getattr(value.dtype, "hasobject", True):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, VaryingArgument):
        return (VaryingArgument, _read_value(list(value.values)))
    if isinstance(value, Mapping):
        entries = [(_read_value(name), _read_value(entry)) for name, entry in value.items()]
        return (type(value), tuple(entries))
    if isinstance(value, list | tuple | deque):
        return (type(value), tuple(_read_value(entry) for entry in value))
    raise NoKey


def _read_tensor(tensor: Tensor) -> Hashable:
    is_dense = tensor.layout is torch.strided and not tensor.is_quantized
    if not is_dense or tensor.numel() > KEY_ELEMENTS or tensor.is_complex() or type(tensor) is not Tensor:
        raise NoKey
    elements = tensor.detach().to("cpu").contiguous().view(-1)
    return (tensor.dtype, tuple(tensor.shape), str(tensor.device), elements.view(torch.uint8).numpy().tobytes())
