"""Rehearsal: the user's own loss, called beside the replica at the first parameters and at some that have moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.numerics.tree import Tree
from forerun.engine.witness import Witness
from forerun.optim import preflight
from forerun.optim.gradient_batch import GradientBatch
from forerun.optim.gradient_difference import describe_gradients
from forerun.optim.gradients import OneByOne
from forerun.optim.live_changes import is_same_tree
from forerun.optim.loss_task import LossTask
from forerun.optim.optimizer_stepper import OptimizerStepper
from forerun.optim.own_gradients import OwnGradients
from forerun.optim.replica import ReplicaDiffers
from forerun.optim.tensor_traffic import RetainWatch, TensorMark, TensorTraffic

EXACT_ROUNDINGS = 64.0  # for a loss whose evaluation repeats to the last bit

OPTIONS_CLAUSE = "the loss changes the options of an optimiser"


@dataclass(frozen=True)
class Rehearsal:
    """What the rehearsal of a loop found out.

    Attributes:
        task: the loss, with the number of its losses.
        next_state: the state after the first step.
        marks: tensors from outside that the loss reads.
        retains: whether the loss lets a tensor retain its gradient.
        roundings: by how many roundings its gradients may differ.
        witnessed: steps on which the user's own loss was called, and agreed.
    """

    task: LossTask
    next_state: Tree
    marks: Sequence[TensorMark]
    retains: bool
    roundings: float
    witnessed: int


def rehearse_loop(
    task: LossTask,
    stepper: OptimizerStepper,
    begin: Checkpoint,
    witness: Witness | None,
) -> Rehearsal:
    """Evaluate and take the first step twice, and call the user's own loss beside; all is restored afterwards.

    Args:
        task: the loss.
        stepper: of the user's tensors and optimisers.
        begin: where the run begins.
        witness: how much may differ; None where the user's own loss is not to be called.

    Raises:
        ReplicaDiffers: the user's own loop does something that the replica would not do.
        TypeError, ValueError: the loop cannot run at all.
    """
    params = begin.state["params"]
    traffic, retain_watch = TensorTraffic(stepper.tensors), RetainWatch()
    roundings = 0.0
    try:
        with traffic, retain_watch:
            batch, repeat = preflight.require_pure_loss(task, begin.step, params)
            task = replace(task, loss_count=preflight.count_losses(batch, stepper))
            if witness is not None:
                is_exact = all(map(torch.equal, batch.gradients, repeat.gradients))
                roundings = EXACT_ROUNDINGS if is_exact else witness.roundings
                require_agreement(task, stepper, begin.step, params=params, replica_batch=batch, roundings=roundings)
        _require_no_writes(traffic, "the loss writes")
        next_state = _take_first_step(stepper, begin.state, batch)
    finally:
        with torch.no_grad():
            stepper.install_state(begin.state)
    witnessed = 0
    if witness is not None:
        options = stepper.read_options()
        try:
            _witness_moved(task, stepper, begin, params=next_state["params"], roundings=roundings)
            if not is_same_tree(options, stepper.read_options()):
                raise ReplicaDiffers(OPTIONS_CLAUSE)
        finally:
            with torch.no_grad():
                stepper.install_state(begin.state)
        witnessed = min(2, begin.length - begin.step)
    return Rehearsal(task, next_state, traffic.mark_read(), retain_watch.retains, roundings, witnessed)


def require_agreement(
    task: LossTask,
    stepper: OptimizerStepper,
    step: int,
    *,
    params: Sequence[Tensor],
    replica_batch: GradientBatch,
    roundings: float,
) -> None:
    """Call the user's own loss at the parameters of a step, and hold its gradients against the replica's.

    Raises:
        ReplicaDiffers: they disagree.
    """
    own = OwnGradients(stepper)
    rows = [tensor.unsqueeze(0) for tensor in params]
    user_batch = own.compute_gradients(task, torch.tensor([step]), rows)
    if "params" in own.changes.get(step, {}):
        raise ReplicaDiffers("the loss changes parameters in place")
    if own.changes:
        raise ReplicaDiffers(OPTIONS_CLAUSE)
    difference = describe_gradients(task.parameters.labels, user_batch, replica_batch, roundings=roundings)
    if difference is not None:
        raise ReplicaDiffers(f"at step {step} {difference}")


def _witness_moved(
    task: LossTask,
    stepper: OptimizerStepper,
    begin: Checkpoint,
    *,
    params: Sequence[Tensor],
    roundings: float,
) -> None:
    """Hold both against each other where parameters are no longer those that the user's own tensors hold."""
    step = min(begin.step + 1, begin.length - 1)
    rows = [tensor.unsqueeze(0) for tensor in params]
    replica_batch = OneByOne().compute_gradients(task, torch.tensor([step]), rows)
    require_agreement(task, stepper, step, params=params, replica_batch=replica_batch, roundings=roundings)


def _take_first_step(stepper: OptimizerStepper, state: Tree, batch: GradientBatch) -> Tree:
    traffic = TensorTraffic(stepper.tensors)
    with torch.no_grad(), traffic:
        next_state = preflight.require_repeatable_step(stepper, state, batch)
    _require_no_writes(traffic, "a hook of the optimiser's step writes")
    require_trained(stepper.tensors)
    return next_state


def require_trained(tensors: Sequence[Tensor]) -> None:
    """Refuse a hook that freezes a tensor, and thaw it.

    Raises:
        ReplicaDiffers: a tensor was frozen.
    """
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_()
    if frozen:
        raise ReplicaDiffers("a step of the optimiser changes which tensors are trained")


def _require_no_writes(traffic: TensorTraffic, clause: str) -> None:
    changed = traffic.list_changed()
    traffic.restore_written()
    if changed:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in changed[:3])
        raise ReplicaDiffers(f"{clause} into {len(changed)} tensor(s) that are no parameters, of shape {shapes}")
