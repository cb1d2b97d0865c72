"""Banach: the a-posteriori bound of a contraction whose constant is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.certificates.base import Certificate, Evidence, Knowledge

RATIO_ROUNDINGS = 1e3  # of a value, that the values of two points may be further apart

REFUTED = (
    "Banach({}) does not hold: two values were {:.6g} times as far apart as their points; the bound is not proven. "
    "The constant belongs to the norm of the tolerance: pass tolerance=Absolute(value, size=largest_element) for one "
    "in the largest element."
)


@dataclass(frozen=True)
class Banach(Certificate):
    """Proven for a contraction: `|T(x) - x*| <= rate / (1 - rate) |T(x) - x|`.

    The iteration ends once the bound keeps the tolerance. The constant must hold in the norm of the tolerance, and is
    held against every move that the iteration makes: a larger one refutes it.

    Args:
        rate: a proven Lipschitz constant of the map, less than 1.
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(
                f"Banach(rate={self.rate}) is not the constant of a contraction; pass one in [0, 1), such as the "
                "discount of a value iteration, or leave the certificate out"
            )

    def follow(self, evidence: Evidence) -> Knowledge:
        exceeds = evidence.ratios > self.rate  # nan does not
        if bool(exceeds.any()):
            roundings = evidence.rows.epsilon * evidence.values.abs()
            slack = RATIO_ROUNDINGS * evidence.tools.measure(roundings, evidence.points) / evidence.sizes
            exceeds = evidence.ratios > self.rate + slack
        was_refuted = evidence.memory.get("refuted", torch.zeros_like(exceeds))
        is_refuted = was_refuted | exceeds
        notes: tuple[str, ...] = ()
        if bool((is_refuted & ~was_refuted).any()):
            notes = (REFUTED.format(self.rate, float(evidence.ratios[is_refuted & ~was_refuted].amax())),)
        return Knowledge(
            bounds=self.rate / (1 - self.rate) * evidence.sizes,
            is_proven=~is_refuted,
            is_required=True,
            memory={"refuted": is_refuted},
            notes=notes,
        )
