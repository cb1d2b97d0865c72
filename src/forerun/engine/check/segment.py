"""Segment: accepted steps with a closed form, and how a distance from their path grows along them.

    d_{i+1} = (a_i + b_i J_i) d_i + b_i r_i

with `a`, `b` of the closed form, the Jacobian `J_i` as the evaluations of the step tell it, and its defect `r_i`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.check.jacobian import Changes, Jacobian, told
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows.affine_maps import AffineMaps

LONG = 256  # steps from which on a walk in order costs more than it is worth
TURNS = 2  # of a longer walk after the first, to let its Jacobians act in full


@dataclass(frozen=True)
class Segment:
    """Accepted steps that the shadow has not followed yet.

    Attributes:
        maps: their closed form, without its shifts.
        defects: `r`, `(n, *batch, D)`: how wrong their outputs are estimated to be.
        base: slopes that their Jacobians begin with, one a step; None for zero.
        changes: differences of their evaluations; None where no step was evaluated twice.
        first: the accepted input of the first step, `(*batch, D)`.
        end: that behind the last.
        restart_point: the state behind the last step, where that is a place to go back to.
    """

    maps: AffineMaps
    defects: Tensor
    base: Tensor | None
    changes: Changes | None
    first: Tensor
    end: Tensor
    restart_point: Tree = None

    def __len__(self) -> int:
        return len(self.defects)

    @property
    def stop(self) -> int:
        """The step behind the last."""
        return self.maps.start + len(self)

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        changes = 0 if self.changes is None else 2 * self.changes.inputs.numel()
        return self.defects.numel() + changes + (0 if self.base is None else self.base.numel())

    def owned(self) -> Segment:
        """The same in memory of its own: what was cut from a whole window would keep it alive."""
        base = None if self.base is None else self.base.clone()
        return replace(self, base=base, first=self.first.clone(), end=self.end.clone())

    def walk(self, distance: Tensor, before: Jacobian | None) -> tuple[Tensor, Jacobian]:
        """The distances `(n, *batch, D)` behind each step from that before the first, and the Jacobians."""
        jacobian = told(self.changes, self.defects, self.defects, base=self.base, before=before)
        pushed = self.maps.output_factors * self.defects
        if jacobian.left.shape[-2]:
            grow = _by_matrix if jacobian.dense else _by_rank if len(self) <= LONG else _by_turns
            return grow(self.maps, jacobian, pushed, distance), jacobian
        propagator = self.maps.compute_propagators(jacobian.base)
        return affine_scan(propagator, pushed, distance, differentiable=False), jacobian


def joined(stretches: Sequence[Segment]) -> list[Segment]:
    """The same steps in as few stretches as their bases allow."""
    groups: list[list[Segment]] = []
    for stretch in stretches:
        if groups and _kind(groups[-1][0]) == _kind(stretch):
            groups[-1].append(stretch)
        else:
            groups.append([stretch])
    return [group[0] if len(group) == 1 else _one(group) for group in groups]


def _one(parts: Sequence[Segment]) -> Segment:
    bases = [part.base for part in parts if part.base is not None]
    return Segment(
        maps=AffineMaps.from_parts([part.maps for part in parts]),
        defects=torch.cat([part.defects for part in parts]),
        base=torch.cat(bases) if bases else None,
        changes=Changes.joined([(part.changes, len(part)) for part in parts]),
        first=parts[0].first,
        end=parts[-1].end,
        restart_point=parts[-1].restart_point,
    )


def _kind(stretch: Segment) -> tuple[int, ...] | None:
    return None if stretch.base is None else tuple(stretch.base.shape[1:])


def _by_matrix(maps: AffineMaps, jacobian: Jacobian, pushed: Tensor, distance: Tensor) -> Tensor:
    """One scan, with the Jacobians written out, where their base is a matrix already."""
    assert jacobian.base is not None, "a dense Jacobian has a base"
    matrices = jacobian.base + jacobian.left.mT @ jacobian.right
    return affine_scan(maps.compute_propagators(matrices), pushed, distance, differentiable=False)


def _by_rank(maps: AffineMaps, jacobian: Jacobian, pushed: Tensor, distance: Tensor) -> Tensor:
    """In order, each step two products with the few rows that its Jacobian has beyond its base."""
    left = (maps.output_factors.unsqueeze(-1) * jacobian.left).mT
    found = []
    for keep, out, along, push in zip(
        maps.compute_propagators(jacobian.base).unbind(),
        left.unbind(),
        jacobian.right.unbind(),
        pushed.unbind(),
        strict=True,
    ):
        beyond = out @ (along @ distance.unsqueeze(-1))
        distance = torch.addcmul(push, keep, distance) + beyond.squeeze(-1)
        found.append(distance)
    return torch.stack(found)


def _by_turns(maps: AffineMaps, jacobian: Jacobian, pushed: Tensor, distance: Tensor) -> Tensor:
    """Scans with the base alone: what it leaves out follows the distances of the scan before."""
    propagator = maps.compute_propagators(jacobian.base)
    found = affine_scan(propagator, pushed, distance, differentiable=False)
    for _ in range(TURNS):
        beyond = jacobian.beyond(torch.cat([distance.unsqueeze(0), found[:-1]]))
        found = affine_scan(
            propagator, torch.addcmul(pushed, maps.output_factors, beyond), distance, differentiable=False
        )
    return found
