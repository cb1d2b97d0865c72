"""How outputs become the next path."""

from forerun.engine.methods.base import WindowState, WindowUpdate, Method
from forerun.engine.methods.evaluations import Evaluate, StepEvaluations
from forerun.engine.methods.slopes import SlopedOutputs, SlopeMethod
from forerun.engine.methods.sequential import Sequential
from forerun.engine.methods.jacobi import Jacobi
from forerun.engine.methods.picard import Picard
from forerun.engine.methods.secant import Secant
from forerun.engine.methods.quasi_newton import QuasiNewton
from forerun.engine.methods.newton import Newton
from forerun.engine.methods.boxed import Bound, Boxed
from forerun.engine.methods.damped import Damped
from forerun.engine.methods.elk import Elk
from forerun.engine.methods.anderson import Anderson
from forerun.engine.methods.parareal import Parareal
from forerun.engine.methods.gauss_seidel import (
    GaussSeidel,
    JacobiGaussSeidel,
    PicardGaussSeidel,
)

__all__ = [
    "Anderson",
    "Bound",
    "Boxed",
    "Damped",
    "Elk",
    "Evaluate",
    "GaussSeidel",
    "Jacobi",
    "JacobiGaussSeidel",
    "Method",
    "Newton",
    "Parareal",
    "Picard",
    "PicardGaussSeidel",
    "QuasiNewton",
    "Secant",
    "Sequential",
    "SlopeMethod",
    "SlopedOutputs",
    "StepEvaluations",
    "WindowState",
    "WindowUpdate",
]
