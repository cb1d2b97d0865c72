"""Whether accelerated points of a fixed point iteration are kept."""

from forerun.engine.safeguards.base import JudgedPoints, Safeguard
from forerun.engine.safeguards.bounded import Bounded
from forerun.engine.safeguards.default import choose_safeguard
from forerun.engine.safeguards.monotone import Monotone
from forerun.engine.safeguards.unguarded import Unguarded

__all__ = ["Bounded", "JudgedPoints", "Monotone", "Safeguard", "Unguarded", "choose_safeguard"]
