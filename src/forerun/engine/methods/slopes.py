"""SlopeMethod: the methods that differ only in the slope they assume."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple, final

from torch import Tensor

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.rows import sweep_window


class SlopedOutputs(NamedTuple):
    """What a round gave, and the slopes to sweep it with.

    Attributes:
        outputs: `(W, *batch, E)`.
        slopes: scalar `(W, *batch, 1)`, diagonal `(W, *batch, D)` or dense `(W, *batch, E, D)`; None for zero.
        memory: what the method wants to see again in the next round.
    """

    outputs: Tensor
    slopes: Tensor | None = None
    memory: Any = None


class SlopeMethod(Method):
    """One evaluation of the window, one sweep with slopes `S_i`: `o_i + S_i (observe(x_i) - u_i)`."""

    @abstractmethod
    def slopes(self, window_state: WindowState, evaluate: Evaluate) -> SlopedOutputs:
        """Evaluate the window, and return its outputs with their slopes."""

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
            evaluations=StepEvaluations(
                window_state.start,
                window_state.inputs,
                outputs,
                window_state.sparse,
            ),
            slopes=slopes,
            memory=memory,
        )
