"""What the evaluations of a step tell about its Jacobian, for the check.

Every step was evaluated several times on the way to acceptance. Broyden's update makes an estimate agree with
each difference of two evaluations in turn (Broyden 1965, "A class of methods for solving nonlinear simultaneous
equations", equation 4.5):

    J <- J + (do - J du) du^T / |du|^2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluated
from forerun.engine.sweep import apply

SMALL = 16  # rows up to this wide afford a full matrix, which is carried from step to step

Carried = tuple[Tensor, ...]


@dataclass(frozen=True)
class Jacobian:
    """Estimates for the steps of a stretch, `J = B + sum_k w_k p_k^T` with a base `B`.

    Attributes:
        base: scalar, diagonal or dense slopes of the stretch; None for zero.
        left: `w`, `(K, n, *batch, E)`.
        right: `p`, `(K, n, *batch, D)`.
        whole: the base alone is the estimate, and is meant for one sweep over the stretch.
    """

    base: Tensor | None
    left: Tensor
    right: Tensor
    whole: bool = False
