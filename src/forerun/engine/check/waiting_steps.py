"""WaitingSteps: accepted steps with a closed form that wait until the shadow follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.check.distance_growth import grow_distances
from forerun.engine.check.evaluation_changes import EvaluationChanges
from forerun.engine.check.jacobian import Jacobian
from forerun.engine.check.jacobian_estimate import estimate_or_base
from forerun.engine.check.step_samples import DrawnStep
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import AffineMaps


@dataclass(frozen=True)
class WaitingSteps:
    """Accepted steps that the shadow has not followed yet.

    Attributes:
        maps: their closed form, without its shifts.
        defects: `r`, `(n, *batch, D)`: how wrong their outputs are estimated to be.
        base: slopes that their Jacobians begin with, one a step; None for zero.
        changes: differences of their evaluations; None where no step was evaluated twice.
        first_input: the accepted input of the first step, `(*batch, D)`.
        end_input: the accepted input after the last step.
        restart_state: the accepted state after the last step, where that is a restart point.
        drawn: steps to be sampled.
    """

    maps: AffineMaps
    defects: Tensor
    base: Tensor | None
    changes: EvaluationChanges | None
    first_input: Tensor
    end_input: Tensor
    restart_state: Tree = None
    drawn: tuple[DrawnStep, ...] = ()

    def __len__(self) -> int:
        return self.defects.shape[0]

    @property
    def start(self) -> int:
        """The first step."""
        return self.maps.start

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.maps.start + len(self)

    @property
    def element_count(self) -> int:
        """How many numbers the steps hold."""
        total = self.defects.numel()
        if self.changes is not None:
            total += 2 * self.changes.inputs.numel()
        if self.base is not None:
            total += self.base.numel()
        return total

    def copy_views(self) -> WaitingSteps:
        """Return the steps in memory of their own: what was cut from a whole window would keep it alive."""
        base = self.base
        if base is not None:
            base = base.clone()
        return replace(
            self,
            base=base,
            first_input=self.first_input.clone(),
            end_input=self.end_input.clone(),
        )

    def follow_distance(self, distance: Tensor, before: Jacobian | None) -> tuple[Tensor, Jacobian]:
        """Return the distances `(n, *batch, D)` after each step, and the Jacobians.

        Args:
            distance: from the first accepted input.
            before: the Jacobian of the step before the first; None where there is none.
        """
        jacobian = estimate_or_base(
            self.changes,
            base=self.base,
            before=before,
            inputs=self.defects,
            outputs=self.defects,
        )
        return grow_distances(self.maps, jacobian, self.defects, distance), jacobian


def join_steps(parts: Sequence[WaitingSteps]) -> list[WaitingSteps]:
    """Return the same steps in as few parts as their bases allow."""
    groups: list[list[WaitingSteps]] = []
    for steps in parts:
        if groups and _base_shape(groups[-1][0]) == _base_shape(steps):
            groups[-1].append(steps)
        else:
            groups.append([steps])
    return [_join_group(group) for group in groups]


def _join_group(parts: Sequence[WaitingSteps]) -> WaitingSteps:
    """Return consecutive parts with bases of one shape as one."""
    if len(parts) == 1:
        return parts[0]
    base = None
    bases = [steps.base for steps in parts if steps.base is not None]
    if bases:
        base = torch.cat(bases)
    return WaitingSteps(
        maps=AffineMaps.from_parts([steps.maps for steps in parts]),
        defects=torch.cat([steps.defects for steps in parts]),
        base=base,
        changes=EvaluationChanges.from_parts(
            [steps.changes for steps in parts],
            [len(steps) for steps in parts],
        ),
        first_input=parts[0].first_input,
        end_input=parts[-1].end_input,
        restart_state=parts[-1].restart_state,
        drawn=_join_drawn(parts),
    )


def _join_drawn(parts: Sequence[WaitingSteps]) -> tuple[DrawnStep, ...]:
    """Return the steps that were drawn of all parts."""
    return tuple(drawn for steps in parts for drawn in steps.drawn)


def _base_shape(steps: WaitingSteps) -> tuple[int, ...] | None:
    """Return the shape of one step's base."""
    if steps.base is None:
        return None
    return tuple(steps.base.shape[1:])
