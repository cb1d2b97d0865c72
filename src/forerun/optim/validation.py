"""Validation of what a loop is given: sorted out, or refused with the line to type instead."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_avg_fn

from forerun.optim.training import AverageFunction


def require_optimizers(value: Any) -> list[Optimizer]:
    """Return one optimiser, or several, as a list.

    Raises:
        TypeError: one is not an optimiser of torch.
        ValueError: one needs a closure, or two hold the same tensor.
    """
    optimizers = _as_list(value)
    for optimizer in optimizers:
        _require_optimizer(optimizer)
    tensor_ids = [id(tensor) for tensor in optimized_tensors(optimizers)]
    if len(set(tensor_ids)) < len(tensor_ids):
        raise ValueError("two optimisers hold the same tensor; let each hold its own")
    return optimizers


def _require_optimizer(value: Any) -> None:
    if not isinstance(value, Optimizer):
        raise TypeError(
            f"optimizer must be an optimiser of torch, got {value!r}; build one over the parameters first: "
            "Loop(params, torch.optim.Adam(params, 1e-2), loss)"
        )
    closure = inspect.signature(type(value).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"{type(value).__name__} calls the loss itself, through a closure, as often as it likes, so that its "
            "steps cannot be cut into a gradient and an update; use one that takes gradients only: torch.optim.Adam"
        )


def require_schedulers(value: Any, optimizers: Sequence[Optimizer]) -> list[LRScheduler]:
    """Return one scheduler, several, or none, as a list.

    Raises:
        TypeError: one is not a scheduler of torch.
        ValueError: one wants a metric, or drives an optimiser of another loop.
    """
    schedulers = [] if value is None else _as_list(value)
    for scheduler in schedulers:
        _require_scheduler(scheduler, optimizers)
    return schedulers


def _require_scheduler(value: Any, optimizers: Sequence[Optimizer]) -> None:
    if isinstance(value, ReduceLROnPlateau):
        raise ValueError(
            "ReduceLROnPlateau is stepped with a metric, which no step of the loop has; use a schedule of the "
            "step, such as torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps), or run the loop in "
            "segments, loop.run(100).solution(), and step the scheduler between them"
        )
    if not isinstance(value, LRScheduler):
        raise TypeError(
            f"scheduler must be one of torch.optim.lr_scheduler, got {value!r}; write "
            "scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 100)"
        )
    if all(value.optimizer is not optimizer for optimizer in optimizers):
        raise ValueError(
            f"{type(value).__name__} drives another optimiser than the loop's; build it over the same one: "
            f"{type(value).__name__}(optimizer, ...)"
        )


def _as_list(value: Any) -> list[Any]:
    """Return one thing, or several in a list or tuple, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def optimized_tensors(optimizers: Sequence[Optimizer]) -> list[Tensor]:
    """Return all tensors that optimisers hold."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return [tensor for group in groups for tensor in group["params"]]


def find_owners(tensors: Sequence[Tensor], optimizers: Sequence[Optimizer]) -> list[int]:
    """Return, for every tensor, the index of the optimiser that holds it."""
    owner_by_id = {}
    for index, optimizer in enumerate(optimizers):
        for tensor in optimized_tensors([optimizer]):
            owner_by_id[id(tensor)] = index
    return [owner_by_id[id(tensor)] for tensor in tensors]


def averaging_function(ema: float | AverageFunction | None) -> AverageFunction | None:
    """Return how parameters are averaged: by a decay, as `torch.optim.swa_utils` does it, or by a function like that.

    Raises:
        ValueError: the decay is not between 0 and 1.
    """
    if ema is None or callable(ema):
        return ema
    if not 0 <= ema <= 1:
        raise ValueError(f"ema must be a decay between 0 and 1, got {ema}; write ema=0.999")
    function: AverageFunction = get_ema_avg_fn(ema)
    return function


def describe_loop(
    labels: Sequence[str], optimizers: Sequence[Optimizer], schedulers: Sequence[Any], seed: int | None
) -> str:
    """Return a line that tells the checkpoints of a loop from those of another."""
    kinds = [f"{type(optimizer).__name__} of {len(optimizer.param_groups)} group(s)" for optimizer in optimizers]
    kinds += [type(scheduler).__name__ for scheduler in schedulers]
    return f"{', '.join(kinds)}; {len(labels)} tensor(s) {', '.join(labels)}; seed {seed}"
