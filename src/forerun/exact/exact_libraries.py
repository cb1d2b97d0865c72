"""The libraries of exact arithmetic, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_flint() -> Any:
    """Return the module of python-flint: integers, rationals, polynomials, matrices and balls.

    Raises:
        ImportError: it is not installed.
    """
    return _load_library("flint")


def load_mpmath() -> Any:
    """Return the module mpmath: numbers of any precision, and PSLQ.

    Raises:
        ImportError: it is not installed.
    """
    return _load_library("mpmath")


def load_scipy_spatial() -> Any:
    """Return the module scipy.spatial: convex hulls, whose facets are found again in integers.

    Raises:
        ImportError: it is not installed.
    """
    return _load_library("scipy.spatial")


def load_sympy() -> Any:
    """Return the module sympy: symbols, and Groebner bases.

    Raises:
        ImportError: it is not installed.
    """
    return _load_library("sympy")


def _load_library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}: pip install 'forerun[exact]'") from error
