"""AcceptedPath: the accepted steps with what is known of each, kept so that all of them can be evaluated again.

It is kept only while it is small: memory does not grow with the length of a path of large states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from forerun.engine.check.jacobian import Jacobian
from forerun.engine.methods.base import WindowUpdate
from forerun.engine.numerics.tree import Tree, tree_tensors

ACCEPTED_PATH_ELEMENTS: Final = 2**22  # numbers that an accepted path may hold, all together


@dataclass(frozen=True)
class ParallelSteps:
    """Consecutive steps that were evaluated together with others, and accepted.

    Attributes:
        start: the first step.
        inputs: `(n, *batch, D)`, as accepted.
        outputs: `(n, *batch, E)`, as the sweep used them.
        end_input: after the last step, `(*batch, D)`.
        jacobian: the estimates of the steps.
    """

    start: int
    inputs: Tensor
    outputs: Tensor
    end_input: Tensor
    jacobian: Jacobian

    @classmethod
    def from_update(
        cls,
        update: WindowUpdate,
        jacobian: Jacobian,
    ) -> ParallelSteps:
        """Return as many accepted steps of a round as there are Jacobians."""
        count = len(jacobian.left)
        return cls(
            start=update.evaluations.start,
            inputs=update.inputs[:count],
            outputs=update.outputs[:count],
            end_input=update.inputs[count],
            jacobian=jacobian,
        )

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.start + len(self.inputs)

    @property
    def element_count(self) -> int:
        """How many numbers the steps hold."""
        jacobian = self.jacobian
        total = self.inputs.numel() + self.outputs.numel() + jacobian.left.numel() + jacobian.right.numel()
        if jacobian.base is not None:
            total += jacobian.base.numel()
        return total

    def copy_views(self) -> ParallelSteps:
        """Return the steps in memory of their own: what was cut from a window would keep it alive."""
        return replace(
            self,
            inputs=_copy_view(self.inputs),
            outputs=_copy_view(self.outputs),
            end_input=_copy_view(self.end_input),
        )

    def cut_at(self, step: int) -> ParallelSteps:
        """Return those before a step."""
        count = step - self.start
        return replace(
            self,
            inputs=self.inputs[:count],
            outputs=self.outputs[:count],
            end_input=self.inputs[count],
            jacobian=self.jacobian.cut_at(count),
        )


@dataclass(frozen=True)
class CarriedSteps:
    """Consecutive steps that were taken in order, from their exact states.

    Attributes:
        start: the first step.
        stop: the step after the last.
        first_state: the state of the first step.
        end_state: the state after the last.
        first_distance: of the shadow from the first state.
        end_distance: of the shadow from the last one.
        log_gain: logarithm of how much the distance grew.
    """

    start: int
    stop: int
    first_state: Tree
    end_state: Tree
    first_distance: Tree
    end_distance: Tree
    log_gain: float

    @property
    def element_count(self) -> int:
        """How many numbers the steps hold."""
        return 4 * sum(leaf.numel() for leaf in tree_tensors(self.end_state))


@dataclass(frozen=True)
class AcceptedPath:
    """Accepted steps in their order, from a state whose distance from the sequential run is known.

    Attributes:
        step: the first step.
        shadow: where the sequential run is estimated to be there.
        segments: the steps.
        element_count: numbers that these hold, all together.
        is_whole: no step is left out.
    """

    step: int
    shadow: Tree
    segments: tuple[ParallelSteps | CarriedSteps, ...] = ()
    element_count: int = 0
    is_whole: bool = True

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.segments[-1].stop if self.segments else self.step

    @property
    def parallel_steps(self) -> list[ParallelSteps]:
        """The steps that were evaluated together with others."""
        return [segment for segment in self.segments if isinstance(segment, ParallelSteps)]

    def add_segment(self, segment: ParallelSteps | CarriedSteps) -> AcceptedPath:
        """Return the path with more steps, in memory of their own; without any, where it has grown too large."""
        count = self.element_count + segment.element_count
        if not self.is_whole or count > ACCEPTED_PATH_ELEMENTS:
            return replace(self, segments=(), is_whole=False)
        if isinstance(segment, ParallelSteps):
            segment = segment.copy_views()
        return replace(self, segments=(*self.segments, segment), element_count=count)

    def cut_at(self, step: int) -> AcceptedPath:
        """Return the steps before one; not whole where that lies amid steps that were taken in order."""
        path = AcceptedPath(self.step, self.shadow, is_whole=self.is_whole)
        for segment in self.segments:
            if segment.start >= step:
                break
            if segment.stop > step:
                if isinstance(segment, CarriedSteps):
                    return replace(path, segments=(), is_whole=False)
                segment = segment.cut_at(step)
            path = path.add_segment(segment)
        return path

    def stack_inputs(self) -> Tensor | None:
        """Return the inputs of all steps `(n, *batch, D)`; None where some are not known."""
        inputs = [segment.inputs for segment in self.parallel_steps]
        if not self.is_whole or len(inputs) < len(self.segments) or not inputs:
            return None
        return torch.cat(inputs)


def _copy_view(rows: Tensor) -> Tensor:
    return rows.clone() if rows._is_view() else rows
