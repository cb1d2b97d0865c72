"""Limits: where an iteration ends. The parts of `forerun.fixed_point`, and the systems that live on it."""

from forerun.engine.certificates import Banach, Certificate, Cycle, MeasuredRate
from forerun.engine.limit_methods import AndersonMixing, Averaged, LimitMethod, Plain
from forerun.engine.map import BatchMap, Map
from forerun.engine.safeguards import Bounded, Monotone, Safeguard, Unguarded
from forerun.engine.search import Limit, LimitEvent, LimitOptions, LimitStatus, NoLimit

__all__ = [
    "AndersonMixing",
    "Averaged",
    "Banach",
    "BatchMap",
    "Bounded",
    "Certificate",
    "Cycle",
    "Limit",
    "LimitEvent",
    "LimitMethod",
    "LimitOptions",
    "LimitStatus",
    "Map",
    "MeasuredRate",
    "Monotone",
    "NoLimit",
    "Plain",
    "Safeguard",
    "Unguarded",
]
