"""Training: an optimiser loop as a process: the gradient is evaluated, `optimizer.step()` advances.

    state    parameters, what optimisers and schedulers keep, averaged parameters, counters
    observe  parameters
    evaluate gradients of the steps of a window, each with the randomness of its step
    advance  clip, optimizer.step(), scheduler.step(), average

With every step evaluated at its exact input this is the ordinary loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.optim.gradients import Gradients
from forerun.optim.loss_task import LossTask
from forerun.optim.optimizer_stepper import OptimizerStepper

AverageFunction = Callable[[Tensor, Tensor, int], Tensor]


@final
class Training(Process):
    """A loop of optimiser steps.

    Inputs and outputs are `{"params": tensors, "scalars": vector}`. The scalars of an output are the losses, which
    tensors the loss depends on, and a zero; those of an input are zeros, and the mean length of the steps so far.

    Args:
        task: the loss and its randomness.
        stepper: the optimisers.
        gradients: how gradients are computed together.
        length: steps.
        average: the averaged parameters after a step, from those before, the new parameters and the number of
            averages so far, as in `torch.optim.swa_utils`; None keeps no average.
    """

    def __init__(
        self,
        task: LossTask,
        stepper: OptimizerStepper,
        gradients: Gradients,
        *,
        length: int,
        average: AverageFunction | None = None,
    ) -> None:
        self.length = length
        self._task = task
        self._stepper = stepper
        self._gradients = gradients
        self._average = average

    def initial_state(self, description: str) -> Tree:
        """Return the first state, from what the user's objects hold now.

        Args:
            description: what the loop is, to tell it from another.
        """
        carried = self._stepper.read_state()
        params = carried["params"]
        zero = torch.zeros((), dtype=_widest_dtype(params), device=params[0].device)
        return {
            **carried,
            "description": description,
            "average": [tensor.clone() for tensor in params] if self._average else [],
            "count": 0,
            "changed": -1,  # the last step before which a barrier changed the parameters
            "walked": zero,  # the sum of the lengths of the steps
            "losses": zero.new_zeros(self._task.loss_count),
            "rates": self._stepper.read_rates(),
        }

    def observe(self, state: Tree) -> Tree:
        walked: Tensor = state["walked"]
        width = self._task.loss_count + len(state["params"]) + 1
        scalars = walked.new_zeros(width)
        scalars[-1] = walked / max(state["count"], 1)
        return {"params": state["params"], "scalars": scalars}

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        batch = self._gradients.compute_gradients(self._task, steps, inputs["params"])
        like = inputs["scalars"]
        zero = torch.zeros_like(like[:, :1])
        scalars = torch.cat([batch.losses.to(like), batch.used.to(like), zero], 1)
        return {"params": batch.gradients, "scalars": scalars}

    def advance(
        self,
        step: int,
        state: Tree,
        output: Tree,
    ) -> Tree:
        losses, used, _ = output["scalars"].split([self._task.loss_count, len(state["params"]), 1])
        is_used = [share > 0.5 for share in used.tolist()]
        carried, rates = self._stepper.take_step(state, output["params"], is_used)
        length = self._step_length(before=state["params"], after=carried["params"])
        return {
            **carried,
            "description": state["description"],
            "average": self._next_average(state, carried["params"]),
            "count": state["count"] + 1,
            "changed": state["changed"],
            "walked": state["walked"] + length.to(state["walked"]),
            "losses": losses.clone(),
            "rates": rates,
        }

    def _next_average(self, state: Tree, params: Sequence[Tensor]) -> list[Tensor]:
        if self._average is None:
            return []
        count = state["count"]
        if count == 0:
            return [tensor.clone() for tensor in params]
        pairs = zip(state["average"], params, strict=True)
        return [self._average(average, tensor, count) for average, tensor in pairs]

    def _step_length(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
        """Return the root mean square of a step, over as many elements as a row of the input has without its length."""
        width = sum(tensor.numel() for tensor in before) + self._task.loss_count + len(before)
        norms = torch._foreach_norm(torch._foreach_sub(list(after), list(before)))
        norm: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(torch.float32) for norm in norms]))
        return norm / sqrt(width)


def _widest_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """Return the widest dtype among tensors, float32 at least."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
