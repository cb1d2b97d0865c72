"""Exact mathematics: identities with certificates, in rationals, finite fields, polynomials and balls."""

from forerun.exact import apery, characters, landau, learners, markoff, mathieu, rationality

__all__ = ["apery", "characters", "landau", "learners", "markoff", "mathieu", "rationality"]
