"""Exact mathematics: identities with certificates, in rationals, finite fields, polynomials and balls."""

from forerun.exact import characters

__all__ = ["characters"]
