"""SlopeMethod: the methods that differ only in the slope they assume."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

from torch import Tensor

from forerun.engine.methods.base import (
    Evaluate,
    Method,
    StepEvaluations,
    WindowState,
    WindowUpdate,
)
from forerun.engine.rows import sweep_window


class SlopeMethod(Method):
    """One evaluation of the window, one sweep with slopes `S_i`: `o_i + S_i (observe(x_i) - u_i)`."""

    @abstractmethod
    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> tuple[Tensor, Tensor | None, Any]:
        """Return outputs `(W, *batch, E)`, slopes (scalar, diagonal, dense, or None for zero) and the next memory."""

    @final
    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        outputs, slopes, memory = self.slopes(window_state, evaluate)
        path = sweep_window(
            window_state.problem,
            window_state.start,
            window_state.state,
            outputs=outputs,
            slopes=slopes,
            evaluated_inputs=window_state.inputs,
        )
        return WindowUpdate(
            sweep=path,
            evaluations=StepEvaluations(window_state.start, window_state.inputs, outputs),
            slopes=slopes,
            memory=memory,
        )
