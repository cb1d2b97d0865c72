"""forerun runs sequential computations ahead of themselves: a process, a method, a solution.

    solution = forerun.solve(process, state)

guesses the whole path, evaluates the costly part of many steps in one batch, sweeps the cheap part in order, and
repeats until nothing moves: the sequential answer, in fewer rounds, with an estimate of how close it is.

    limit = forerun.fixed_point(map, x0)

finds where an iteration ends, in fewer evaluations than iterating, and says what is known of the error.
"""

from forerun.engine.process import Affine, Process
from forerun.engine.solve import solve
from forerun.engine.options import SolveOptions
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.engine.methods import Anderson, Newton, Picard, QuasiNewton, Secant, Sequential
from forerun.engine.windows import EVERY_STEP, Auto, Density, Full, Sliding
from forerun.engine.tolerance import Absolute, Moving, Relative
from forerun.engine.guesses import Hold, Known
from forerun.engine.backends import Distributed, Local
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.progress import Bar
from forerun.engine.map import Map
from forerun.engine.fixed_point import fixed_point
from forerun.engine.search import Limit

__all__ = [
    "Process",
    "Affine",
    "solve",
    "SolveOptions",
    "Solution",
    "Status",
    "NotConverged",
    "Sequential",
    "Picard",
    "Secant",
    "QuasiNewton",
    "Newton",
    "Anderson",
    "Auto",
    "Full",
    "Sliding",
    "Density",
    "EVERY_STEP",
    "Absolute",
    "Relative",
    "Moving",
    "Hold",
    "Known",
    "Local",
    "Distributed",
    "Checkpoint",
    "Bar",
    "fixed_point",
    "Map",
    "Limit",
]
