"""Training: an optimiser loop as a process: the gradient is evaluated, `optimizer.step()` advances.

    state    parameters, what optimisers and schedulers keep, averaged parameters, counters
    observe  parameters
    evaluate gradients of the steps of a window, each with the randomness of its step
    advance  clip, optimizer.step(), scheduler.step(), average

With every step evaluated at its exact input this is the ordinary loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import sqrt
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.optim.buffer_guard import BufferGuard
from forerun.optim.gradients import Gradients
from forerun.optim.loss_task import LossTask
from forerun.optim.optimizer_stepper import OptimizerStepper
from forerun.optim.own_gradients import OwnGradients

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
        own: the user's own loss, called in place of the replica, a step at a time and in order; None for the replica.
    """

    counts_whole_state = False  # moments, counters and averages serve the parameters

    def __init__(
        self,
        task: LossTask,
        stepper: OptimizerStepper,
        gradients: Gradients,
        *,
        length: int,
        average: AverageFunction | None = None,
        own: OwnGradients | None = None,
    ) -> None:
        self.length = length
        self._own = own
        self._task = task
        self._stepper = stepper
        self._gradients = gradients
        self._average = average
        self._buffers = BufferGuard(task.parameters.named_buffers())

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
        gradients = self._own or self._gradients
        with self._buffers_at_rest():
            batch = gradients.compute_gradients(self._task, steps, inputs["params"])
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
        losses, is_used = self.split_scalars(output)
        if self._own is not None:
            state = self._own.amend_state(step, state)
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

    def split_scalars(self, output: Tree) -> tuple[Tensor, list[bool]]:
        """Return the losses of a step, and which tensors they depend on."""
        count = len(output["params"])
        losses, used, _ = output["scalars"].split([self._task.loss_count, count, 1])
        return losses, [share > 0.5 for share in used.tolist()]

    def _buffers_at_rest(self) -> AbstractContextManager[None]:
        """Return a context in which the replica must leave the buffers alone; the user's own loss may change them."""
        if self._own is not None:
            return nullcontext()
        return self._buffers.watch()

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
