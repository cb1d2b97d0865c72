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
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.optim.gradients import Gradients
from forerun.optim.optimizer_stepper import OptimizerStepper
from forerun.optim.task import LossTask

Average = Callable[[Tensor, Tensor, int], Tensor]


@final
class Training(Process):
    """A loop of optimiser steps.

    Inputs and outputs are `{"params": tensors, "rest": vector}`. The rest of an output holds the losses, which tensors
    the loss depends on, and a zero; that of an input zeros, and the mean length of the steps so far.

    Args:
        task: the loss and its randomness.
        bench: the optimisers.
        gradients: how gradients are computed together.
        length: steps.
        average: the averaged parameters after a step, from those before, the new parameters and the number of
            averages so far, as in `torch.optim.swa_utils`; None keeps none.
    """

    def __init__(
        self,
        task: LossTask,
        bench: OptimizerStepper,
        gradients: Gradients,
        *,
        length: int,
        average: Average | None = None,
    ) -> None:
        self.length = length
        self._task = task
        self._bench = bench
        self._gradients = gradients
        self._average = average

    def start(self, of: str) -> Tree:
        """The first state, from what the user's objects hold now.

        Args:
            of: what the loop is, to tell it from another.
        """
        held = self._bench.read()
        dtype = torch.promote_types(torch.float32, _widest(held["params"]))
        return {
            **held,
            "of": of,
            "average": [tensor.clone() for tensor in held["params"]] if self._average else [],
            "count": 0,
            "changed": -1,  # the last step before which a barrier changed the parameters
            "walked": torch.zeros((), dtype=dtype, device=held["params"][0].device),
            "losses": torch.zeros(self._task.count, dtype=dtype, device=held["params"][0].device),
            "rates": self._bench.rates(),
        }

    def observe(self, state: Tree) -> Tree:
        walked: Tensor = state["walked"]
        rest = walked.new_zeros(self._task.count + len(state["params"]) + 1)
        rest[-1] = walked / max(state["count"], 1)
        return {"params": state["params"], "rest": rest}

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        found = self._gradients.compute_gradients(self._task, steps, inputs["params"])
        like = inputs["rest"]
        rest = torch.cat([found.losses.to(like), found.used.to(like), torch.zeros_like(like[:, :1])], 1)
        return {"params": found.gradients, "rest": rest}

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        losses, used, _ = output["rest"].split([self._task.count, len(state["params"]), 1])
        held, rates = self._bench.step(state, output["params"], [share > 0.5 for share in used.tolist()])
        return {
            **held,
            "of": state["of"],
            "average": self._averaged(state, held["params"]),
            "count": state["count"] + 1,
            "changed": state["changed"],
            "walked": state["walked"] + self._length(state["params"], held["params"]).to(state["walked"]),
            "losses": losses.clone(),
            "rates": rates,
        }

    def _averaged(self, state: Tree, params: Sequence[Tensor]) -> list[Tensor]:
        if self._average is None:
            return []
        if state["count"] == 0:
            return [tensor.clone() for tensor in params]
        return [
            self._average(average, tensor, state["count"])
            for average, tensor in zip(state["average"], params, strict=True)
        ]

    def _length(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
        """Root mean square of a step, over as many elements as a row of the input has without its length."""
        width = sum(tensor.numel() for tensor in before) + self._task.count + len(before)
        norms = torch._foreach_norm(torch._foreach_sub(list(after), list(before)))
        whole: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(torch.float32) for norm in norms]))
        return whole / sqrt(width)


def _widest(tensors: Sequence[Any]) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
