"""RoundOutputs: what a round evaluated, step by step, as trees."""

from __future__ import annotations

from typing import final

from torch import Tensor

from forerun.engine.methods import StepEvaluations
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import Problem
from forerun.optim.live_loop import LiveLoop


@final
class RoundOutputs:
    """The inputs and outputs of the steps that a round evaluated.

    Args:
        problem: the process, in rows.
        evaluations: what was evaluated, in rows.
        live: the loop.
    """

    def __init__(self, problem: Problem, evaluations: StepEvaluations, live: LiveLoop) -> None:
        self._problem = problem
        self._evaluations = evaluations
        self._live = live

    def unpack_output(self, step: int) -> Tree:
        """Return the output of a step."""
        row = self._evaluations.outputs[step - self._evaluations.start]
        return self._problem.output_layout.unpack(row)

    def list_gradients(self, step: int) -> list[Tensor | None]:
        """Return the gradients of a step, one for each tensor; None where its loss does not depend on the tensor."""
        output = self.unpack_output(step)
        _, used = self._live.build_process(0).split_scalars(output)
        gradients: list[Tensor | None] = []
        for gradient, is_used in zip(output["params"], used, strict=True):
            gradients.append(gradient if is_used else None)
        return gradients

    def witness_step(self, step: int) -> None:
        """Hold the output of a step against the user's own loss at its input.

        Raises:
            ReplicaDiffers: they disagree.
        """
        row = self._evaluations.inputs[step - self._evaluations.start]
        inputs = self._problem.input_layout.unpack(row)
        self._live.witness_step(step, inputs, self.unpack_output(step))
