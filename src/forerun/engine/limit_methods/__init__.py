"""How the values of a map become the point to evaluate next."""

from forerun.engine.limit_methods.anderson_mixing import AndersonMixing
from forerun.engine.limit_methods.averaged import Averaged
from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, MapTools, NextPoint
from forerun.engine.limit_methods.plain import Plain

__all__ = ["AndersonMixing", "Averaged", "LimitMethod", "LimitPoint", "MapTools", "NextPoint", "Plain"]
