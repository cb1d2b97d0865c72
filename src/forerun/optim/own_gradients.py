"""OwnGradients: the user's own loss and `.backward()` on the user's own tensors, a step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.optim.differentiation import differentiate
from forerun.optim.gradient_batch import GradientBatch, join_batches
from forerun.optim.gradients import Gradients
from forerun.optim.live_changes import is_same_tree
from forerun.optim.loss_task import LossTask
from forerun.optim.optimizer_stepper import OptimizerStepper


@final
class OwnGradients(Gradients):
    """What the plain loop does: put parameters into the user's own tensors, call the loss, call `.backward()`.

    Args:
        stepper: of the same tensors, whose memory takes the parameters.

    Attributes:
        changes: what the loss itself has changed of a state, by step: parameters in place, options of optimisers.
    """

    def __init__(self, stepper: OptimizerStepper) -> None:
        self._stepper = stepper
        self.changes: dict[int, Tree] = {}

    def compute_gradients(
        self,
        task: LossTask,
        steps: Tensor,
        tensors: Sequence[Tensor],
    ) -> GradientBatch:
        rows = zip(*(tensor.unbind() for tensor in tensors), strict=True)
        numbered_rows = zip(steps.tolist(), rows, strict=True)
        return join_batches([self._compute_step(task, step, row) for step, row in numbered_rows])

    def amend_state(self, step: int, state: Tree) -> Tree:
        """Return the state that the gradient of a step is applied to: as its loss left it, once."""
        return dict(state, **self.changes.pop(step, {}))

    def _compute_step(
        self,
        task: LossTask,
        step: int,
        values: Sequence[Tensor],
    ) -> GradientBatch:
        tensors = task.parameters.tensors
        with torch.no_grad():
            self._stepper.install_params(values)
        options = self._stepper.read_options()
        with torch.enable_grad(), task.step_data(step) as data:
            losses = task.compute_losses(task.parameters.tree, step, data)
            batch = differentiate(task, losses, tensors)
        for tensor in tensors:
            tensor.grad = None
        changes: Tree = {}
        pairs = zip(tensors, values, strict=True)
        if not all(torch.equal(tensor.detach(), value) for tensor, value in pairs):
            changes["params"] = [tensor.detach().clone() for tensor in tensors]
        if not is_same_tree(options, self._stepper.read_options()):
            changes |= self._stepper.copy_keepings()
        if changes:
            self.changes = {step: changes}
        return batch
