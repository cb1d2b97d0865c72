"""Exact mathematics: identities with certificates, in rationals, finite fields, polynomials and balls."""

from forerun.exact import apery, characters, markoff

__all__ = ["apery", "characters", "markoff"]
