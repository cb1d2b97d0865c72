"""How many steps are in flight together."""

from forerun.engine.windows.auto import Auto
from forerun.engine.windows.base import Window
from forerun.engine.windows.density import EVERY_STEP, Density
from forerun.engine.windows.full import Full
from forerun.engine.windows.past_run import PastRun
from forerun.engine.windows.sliding import Sliding
from forerun.engine.windows.within import Within

__all__ = ["EVERY_STEP", "Auto", "Density", "Full", "PastRun", "Sliding", "Window", "Within"]
