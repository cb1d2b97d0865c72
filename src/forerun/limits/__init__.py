"""Limits: where an iteration ends. The parts of `forerun.fixed_point`, and the systems that live on it."""

from forerun.engine.certificates import AlphaTest, Banach, Certificate, Cycle, Displacement, MeasuredRate, Spectral
from forerun.engine.limit_methods import (
    Aitken,
    AndersonMixing,
    AndersonTypeOne,
    AutoMixing,
    Averaged,
    Broyden,
    Cycled,
    FilteredAnderson,
    Halpern,
    Levin,
    LimitMethod,
    NewtonKrylov,
    Periodic,
    Plain,
    SequenceTransform,
    Shanks,
)
from forerun.engine.map import BatchMap, Map
from forerun.engine.safeguards import Bounded, Monotone, Safeguard, Unguarded
from forerun.engine.search import Limit, LimitCheckpoint, LimitEvent, LimitOptions, LimitStatus, NoLimit
from forerun.limits.implicit import Implicit, attach_gradient
from forerun.limits.rankings import BradleyTerry, GameRecord, Ranking

__all__ = [
    "Aitken",
    "AlphaTest",
    "AndersonMixing",
    "AndersonTypeOne",
    "AutoMixing",
    "Averaged",
    "Banach",
    "BatchMap",
    "Bounded",
    "BradleyTerry",
    "Broyden",
    "Certificate",
    "Cycle",
    "Cycled",
    "Displacement",
    "FilteredAnderson",
    "GameRecord",
    "Halpern",
    "Implicit",
    "Levin",
    "Limit",
    "LimitCheckpoint",
    "LimitEvent",
    "LimitMethod",
    "LimitOptions",
    "LimitStatus",
    "Map",
    "MeasuredRate",
    "Monotone",
    "NewtonKrylov",
    "NoLimit",
    "Periodic",
    "Plain",
    "Ranking",
    "Safeguard",
    "SequenceTransform",
    "Shanks",
    "Spectral",
    "Unguarded",
    "attach_gradient",
]
