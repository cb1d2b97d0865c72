"""Preflight of a loop: its first step is evaluated twice and taken twice, before anything expensive runs.

A loop runs in parallel only if gradients and updates are functions of the step and of what the state carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.optim.auto_gradients import differing_labels, list_names
from forerun.optim.buffer_guard import BufferGuard, BuffersChanged
from forerun.optim.gradient_batch import GradientBatch
from forerun.optim.gradients import OneByOne
from forerun.optim.loss_task import LossTask
from forerun.optim.optimizer_stepper import OptimizerStepper

REPEATS_MAY_DIFFER = 1e-4  # of the size of a gradient: two evaluations of the same one


def require_pure_loss(
    task: LossTask,
    step: int,
    params: Sequence[Tensor],
) -> tuple[GradientBatch, GradientBatch]:
    """Return the gradients of a step, evaluated twice to see that they agree.

    Raises:
        ReplicaDiffers: the loss changes its parameters in place.
        ValueError: they do not agree; or buffers changed, or the loss depends on no parameter.
    """
    steps = torch.tensor([step])
    rows = [tensor.unsqueeze(0) for tensor in params]
    batch = _evaluate_at_rest(task, steps, rows)
    if not bool(batch.used.any()):
        raise ValueError(
            "the loss depends on none of the parameters that it was given; let it use its first argument (for a "
            "module: the module that it is given), not the ones around it"
        )
    repeat = OneByOne().compute_gradients(task, steps, rows)
    labels = differing_labels(task, batch, repeat, share=REPEATS_MAY_DIFFER)
    if labels:
        raise ValueError(
            f"the loss is not a function of parameters and step: step {step}, evaluated twice, gave two gradients of "
            f"{list_names(labels)}. Draw all that is random from torch's, numpy's or python's global generator, which "
            "Loop(..., seed=0) seeds by the step, and take the batch by its step: batches[step % len(batches)], not "
            "next(iterator)"
        )
    return batch, repeat


def _evaluate_at_rest(task: LossTask, steps: Tensor, rows: Sequence[Tensor]) -> GradientBatch:
    """Return the gradients of a step that leaves all buffers as they are."""
    guard = BufferGuard(task.parameters.named_buffers())
    try:
        with guard.watch(by_value=True):
            return OneByOne().compute_gradients(task, steps, rows)
    except BuffersChanged as error:
        raise ValueError(
            f"the loss changes the buffer(s) {error.names} of a module, which a step must not, as it is "
            "evaluated several times; write torch.nn.GroupNorm for BatchNorm, or "
            "BatchNorm2d(..., track_running_stats=False)"
        ) from None


def count_losses(batch: GradientBatch, stepper: OptimizerStepper) -> int:
    """Return how many losses there are.

    Raises:
        ValueError: neither one nor one for each optimiser.
    """
    loss_count = batch.losses.shape[1]
    optimizer_count = len(stepper.optimizers)
    if loss_count not in {1, optimizer_count}:
        raise ValueError(
            f"the loss returned {loss_count} losses for {optimizer_count} optimiser(s); return one scalar, or one for "
            "each optimiser, in their order"
        )
    return loss_count


def require_repeatable_step(
    stepper: OptimizerStepper,
    state: Tree,
    batch: GradientBatch,
) -> Tree:
    """Return the state after a step that was taken twice to see that the results agree.

    Raises:
        ValueError: an optimiser or scheduler keeps something that its state does not show.
    """
    attributes = [_plain_attributes(optimizer) for optimizer in stepper.optimizers]
    gradients = [gradient[0] for gradient in batch.gradients]
    used = [share > 0 for share in batch.used[0].tolist()]
    with _explained_errors(stepper):
        after, _ = stepper.take_step(state, gradients, used)
    values, plain_values = [tensor.clone() for tensor in tree_tensors(after)], _plain_leaves(after)
    repeat, _ = stepper.take_step(state, gradients, used)
    attributes_after = [_plain_attributes(optimizer) for optimizer in stepper.optimizers]
    is_same = _are_same(values, tree_tensors(repeat)) and plain_values == _plain_leaves(repeat)
    if not is_same or attributes != attributes_after:
        raise ValueError(
            f"a step of {_name_parts(stepper)}, taken twice from one state, gave two results: something outside its "
            "`state` and `param_groups` moves it; use an optimiser that keeps all there, a schedule that is a function "
            "of its epoch, or clip= without memory"
        )
    return repeat


def _are_same(values: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Return whether tensors are the same, those with nan left out."""
    pairs = zip(values, others, strict=True)
    return all(torch.equal(value, other) for value, other in pairs if not bool(value.isnan().any()))


@contextmanager
def _explained_errors(stepper: OptimizerStepper) -> Iterator[None]:
    """Let the error of a first step say what was asked of it."""
    try:
        yield
    except Exception as error:
        parts = _name_parts(stepper)
        error.add_note(f"raised by a step of {parts} from gradients alone: a Loop gives optimisers no closure")
        raise


def _name_parts(stepper: OptimizerStepper) -> str:
    return ", ".join(type(part).__name__ for part in [*stepper.optimizers, *stepper.schedulers])


def _plain_leaves(state: Tree) -> list[Any]:
    """Return the numbers and words of a state, such as learning rates."""
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, bool | int | float | str)]


def _plain_attributes(optimizer: Any) -> dict[str, Any]:
    """Return the numbers that an optimiser keeps as its own public attributes."""
    attributes = vars(optimizer).items()
    return {name: value for name, value in attributes if name[0] != "_" and isinstance(value, int | float)}
