"""SlopeMethod: the methods that differ only in the slope they assume."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

from torch import Tensor

from forerun.engine.methods.base import Evaluate, Method, StepEvaluations, WindowState, WindowUpdate
from forerun.engine.rows import sweep_window


class SlopeMethod(Method):
    """One evaluation of the window, one sweep with slopes `S_i`: `o_i + S_i (observe(x_i) - u_i)`."""

    @abstractmethod
    def slopes(self, front: WindowState, evaluate: Evaluate) -> tuple[Tensor, Tensor | None, Any]:
        """Outputs `(W, *batch, E)`, slopes (scalar, diagonal, dense, or None for zero) and the next memory."""

    @final
    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        outputs, slopes, memory = self.slopes(front, evaluate)
        path = sweep_window(
            front.problem, front.start, front.state, outputs=outputs, slopes=slopes, evaluated_inputs=front.inputs
        )
        return WindowUpdate(
            sweep=path,
            evaluations=StepEvaluations(front.start, front.inputs, outputs),
            slopes=slopes,
            memory=memory,
        )
