"""How outputs become the next path."""

from forerun.engine.methods.base import Evaluate, Evaluated, Front, Iterate, Method
from forerun.engine.methods.jacobi import Jacobi
from forerun.engine.methods.picard import Picard
from forerun.engine.methods.secant import Secant
from forerun.engine.methods.sequential import Sequential
from forerun.engine.methods.slopes import SlopeMethod

__all__ = [
    "Evaluate",
    "Evaluated",
    "Front",
    "Iterate",
    "Jacobi",
    "Method",
    "Picard",
    "Secant",
    "Sequential",
    "SlopeMethod",
]
