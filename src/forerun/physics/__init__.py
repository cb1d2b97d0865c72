"""Physics: limits and paths of the natural sciences, each in the terms of its field."""

from forerun.physics import atoms

__all__ = ["atoms"]
