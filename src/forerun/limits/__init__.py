"""Limits: where an iteration ends. The parts of `forerun.fixed_point`, and the systems that live on it."""

from forerun.engine.certificates import Banach, Certificate, Cycle, MeasuredRate
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
from forerun.engine.search import Limit, LimitEvent, LimitOptions, LimitStatus, NoLimit

__all__ = [
    "Aitken",
    "AndersonMixing",
    "AndersonTypeOne",
    "AutoMixing",
    "Averaged",
    "Banach",
    "BatchMap",
    "Bounded",
    "Broyden",
    "Certificate",
    "Cycle",
    "Cycled",
    "FilteredAnderson",
    "Halpern",
    "Levin",
    "Limit",
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
    "Safeguard",
    "SequenceTransform",
    "Shanks",
    "Unguarded",
]
