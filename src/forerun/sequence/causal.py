"""Causal functions: values that each follow from those before them, as a path; one call answers for all of them.

Of the system `v_i = f_i(v_0 .. v_{i-1})` the state of step `i` is all that is known by then, filled up with zeros, and
step `i` adds `v_i` in its place. The sweep copies what is known exactly and the outputs are the new values, so
`Picard()` on this path is what the literature calls Jacobi's iteration on the system (Song et al., arXiv 2002.03629).

The inputs of a window are beginnings of one and the same tensor, unless a method makes them otherwise
(`JacobiGaussSeidel`). A causal function of that one tensor answers for all steps of the window: a round is one
call on one tensor, however wide it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from forerun.engine.process import Affine, Process


class CausalFunction(ABC):
    """What fills a tensor in order: slots along its last axis, slot `i` from `bounds[i]` to `bounds[i + 1]`.

    What stands before `bounds[0]` is there from the start (a prompt, an image that enters a network).
    """

    bounds: Tensor  # int64 (length + 1,), on the CPU

    @abstractmethod
    def compute_slots(self, steps: Tensor, sequence: Tensor) -> Tensor:
        """Return what stands in the slots of `steps`, from what stands before each of them in one sequence.

        Must be a pure function of its arguments; a slot must follow from what stands before it alone.

        Args:
            steps: int64 `(W,)`, ascending.
            sequence: `(*batch, D)`.

        Returns:
            `(*batch, E)`: the slots of `steps` one after another.
        """


@final
class CausalProcess(Process):
    """A `CausalFunction` as a path: its states are sequences `(*batch, D)`, zero after the last slot that is filled.

    Args:
        function: fills the slots.
        batch_dims: leading axes of a sequence that count samples.
    """

    def __init__(self, function: CausalFunction, *, batch_dims: int = 1) -> None:
        self.function = function
        self.batch_dims = batch_dims
        self.length = len(function.bounds) - 1

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        if self._are_beginnings(steps, inputs):
            return self._fill_from_last(steps, inputs)
        outputs = []
        for step, row in zip(steps.split(1), inputs.split(1), strict=True):
            outputs.append(self._fill_from_last(step, row))
        return torch.cat(outputs)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return state + output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=1.0, output=1.0)

    def _fill_from_last(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return rows `(W, *batch, D)`, zero but for the slot of each step, by one call at the last row."""
        values = self.function.compute_slots(steps, inputs[-1])
        places = steps.cpu()
        bounds = self.function.bounds
        begin = bounds[places]
        end = bounds[places + 1]
        sizes = end - begin
        rows = torch.arange(len(steps))
        rows = rows.repeat_interleave(sizes)
        offsets = end - sizes.cumsum(0)
        columns = torch.arange(len(rows))
        columns = columns + offsets[rows]
        outputs = torch.zeros_like(inputs)
        outputs[rows, ..., columns] = values.movedim(-1, 0)
        return outputs

    def _are_beginnings(self, steps: Tensor, inputs: Tensor) -> bool:
        """Whether every row, as far as its step looks, is the beginning of the last row."""
        if len(inputs) == 1:
            return True
        width = inputs.shape[-1]
        bounds = self.function.bounds.to(inputs.device)
        begin = bounds[steps]
        columns = torch.arange(width, device=inputs.device)
        is_read = columns < begin.unsqueeze(-1)  # (W, D)
        batch_axes = [1] * (inputs.dim() - 2)
        is_read = is_read.reshape(len(inputs), *batch_axes, -1)
        is_equal = inputs == inputs[-1:]
        agrees = is_equal | ~is_read
        return bool(agrees.all())
