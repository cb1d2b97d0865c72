"""How many steps are in flight together."""

from forerun.engine.windows.auto import Auto, Full, Sliding, Window, Within

__all__ = ["Auto", "Full", "Sliding", "Window", "Within"]
