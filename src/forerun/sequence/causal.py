"""Causal: values that each follow from those before them, as a path; one call answers for all of them.

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
    """What fills a tensor in order: `length` slots along its last axis, in slices from `bounds[i]` to `bounds[i + 1]`.

    What stands before `bounds[0]` is given (a prompt, an image that enters a network).
    """

    bounds: Tensor  # int64 (length + 1,), on the CPU

    @abstractmethod
    def values(self, steps: Tensor, sequence: Tensor) -> Tensor:
        """What stands in the slots of `steps`, given what stands before each of them in one sequence.

        Must be a pure function of its arguments; a slot must follow from what stands before it alone.

        Args:
            steps: int64 `(W,)`, ascending.
            sequence: `(*batch, D)`.

        Returns:
            `(*batch, E)`: the slots of `steps` one after another.
        """


@final
class CausalProcess(Process):
    """A `CausalFunction` as a path: its states are sequences `(*batch, D)`, filled up to a slot and zero from there on.

    Args:
        filler: fills the slots.
        batch_dims: leading axes of a sequence that count samples.
    """

    def __init__(self, filler: CausalFunction, *, batch_dims: int = 1) -> None:
        self.filler = filler
        self.batch_dims = batch_dims
        self.length = len(filler.bounds) - 1

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        if self._nested(steps, inputs):
            return self._answered(steps, inputs)
        parts = zip(steps.split(1), inputs.split(1), strict=True)
        return torch.cat([self._answered(*part) for part in parts])

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return state + output

    def affine(self, steps: Tensor) -> Affine:
        return Affine.constant(steps, state=1.0, output=1.0)

    def _answered(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """`(W, *batch, D)`, zero but for the slot of each step, by one call at the last row."""
        found = self.filler.values(steps, inputs[-1])
        begin, end = (self.filler.bounds[place + steps.cpu()] for place in (0, 1))
        rows = torch.arange(len(steps)).repeat_interleave(end - begin)
        places = torch.arange(len(rows)) + (end - (end - begin).cumsum(0))[rows]
        outputs = torch.zeros_like(inputs)
        outputs[rows, ..., places] = found.movedim(-1, 0)
        return outputs

    def _nested(self, steps: Tensor, inputs: Tensor) -> bool:
        """Whether what each row knows is the beginning of the last row."""
        if len(inputs) == 1:
            return True
        begin = self.filler.bounds.to(inputs.device)[steps]
        known = torch.arange(inputs.shape[-1], device=inputs.device) < begin.unsqueeze(-1)  # (W, D)
        known = known.reshape(len(inputs), *[1] * (inputs.dim() - 2), -1)
        return bool(((inputs == inputs[-1:]) | ~known).all())
