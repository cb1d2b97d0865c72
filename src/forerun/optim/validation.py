"""The front door of a loop: what it was given, sorted out, or refused with the line to type instead."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_avg_fn

from forerun.optim.training import Average


def several(given: Any) -> list[Any]:
    """One thing, or several in a list or tuple, as a list."""
    return list(given) if isinstance(given, list | tuple) else [given]


def optimizers(given: Any) -> list[Optimizer]:
    """The optimisers that were given.

    Raises:
        TypeError: one is no optimiser of torch.
        ValueError: one needs a closure, or two hold the same tensor.
    """
    found = several(given)
    for each in found:
        if not isinstance(each, Optimizer):
            raise TypeError(
                f"{each!r} is no optimiser; build one over the parameters first: "
                "Loop(params, torch.optim.Adam(params, 1e-2), loss)"
            )
        closure = inspect.signature(type(each).step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise ValueError(
                f"{type(each).__name__} calls the loss itself, through a closure, as often as it likes, so that its "
                "steps cannot be cut into a gradient and an update; use one that takes gradients only: torch.optim.Adam"
            )
    held = [id(tensor) for each in found for tensor in trained([each])]
    if len(set(held)) < len(held):
        raise ValueError("two optimisers hold the same tensor; let each hold its own")
    return found


def trained(optimisers: Sequence[Optimizer]) -> list[Tensor]:
    """All tensors that optimisers hold."""
    return [tensor for each in optimisers for group in each.param_groups for tensor in group["params"]]


def schedulers(given: Any, optimisers: Sequence[Optimizer]) -> list[LRScheduler]:
    """The schedulers that were given.

    Raises:
        TypeError: one is no scheduler of torch.
        ValueError: one wants a metric, or drives an optimiser of another loop.
    """
    found = [] if given is None else several(given)
    for each in found:
        if isinstance(each, ReduceLROnPlateau):
            raise ValueError(
                "ReduceLROnPlateau is stepped with a metric, which no step of the loop has; use a schedule of the "
                "step, such as torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps), or run the loop in "
                "stretches, loop.run(100).solution(), and step the scheduler between them"
            )
        if not isinstance(each, LRScheduler):
            raise TypeError(
                f"{each!r} is no scheduler of torch.optim.lr_scheduler; write "
                "scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 100)"
            )
        if all(each.optimizer is not optimizer for optimizer in optimisers):
            raise ValueError(
                f"{type(each).__name__} drives another optimiser than the loop's; build it over the same one: "
                f"{type(each).__name__}(optimizer, ...)"
            )
    return found


def owners(tensors: Sequence[Tensor], optimisers: Sequence[Optimizer]) -> list[int]:
    """For every tensor, which optimiser holds it."""
    held = {id(tensor): index for index, each in enumerate(optimisers) for tensor in trained([each])}
    return [held[id(tensor)] for tensor in tensors]


def average(given: float | Average | None) -> Average | None:
    """How parameters are averaged: by a decay, as `torch.optim.swa_utils.get_ema_avg_fn`, or by a function like it.

    Raises:
        ValueError: the decay is not between 0 and 1.
    """
    if given is None or callable(given):
        return given
    if not 0 <= given <= 1:
        raise ValueError(f"ema={given} is no decay; pass a number between 0 and 1, such as ema=0.999")
    own: Average = get_ema_avg_fn(given)
    return own


def described(labels: Sequence[str], optimisers: Sequence[Optimizer], schedulers: Sequence[Any], seed: Any) -> str:
    """What a loop is, to tell its checkpoints from those of another."""
    kinds = [f"{type(each).__name__} of {len(each.param_groups)} group(s)" for each in optimisers]
    kinds += [type(each).__name__ for each in schedulers]
    return f"{', '.join(kinds)}; {len(labels)} tensor(s) {', '.join(labels)}; seed {seed}"
