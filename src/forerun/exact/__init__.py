"""Exact mathematics: identities with certificates, in rationals, finite fields, polynomials and balls."""

from forerun.exact import characters, markoff

__all__ = ["characters", "markoff"]
