"""Exact mathematics: identities with certificates, in rationals, finite fields, polynomials and balls."""

from forerun.exact import apery, characters, markoff, mathieu

__all__ = ["apery", "characters", "markoff", "mathieu"]
