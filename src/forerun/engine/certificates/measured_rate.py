"""MeasuredRate: the error estimated from how residuals followed the moves of the iteration."""

from __future__ import annotations

from dataclasses import dataclass

from forerun.engine.certificates.base import Certificate, Evidence, Knowledge


@dataclass(frozen=True)
class MeasuredRate(Certificate):
    """An estimate, and named so: `|T(x) - x*| <= |T(x) - x| gain`, roughly.

    The gain is the largest `|dx| / |dr|` of the last moves, `1 / (1 - rate)` where a plain iteration has settled to a
    linear rate: directions in which nothing moved lately are not in it.
    """

    def follow(self, evidence: Evidence) -> Knowledge:
        return Knowledge()

    def conclude(self, evidence: Evidence) -> Knowledge:
        return Knowledge(bounds=evidence.sizes * evidence.read_gains())
