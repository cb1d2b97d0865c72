"""The check: an estimate of how far the accepted path may have drifted from the sequential run."""

from forerun.engine.check.deviation_estimator import DeviationEstimator
from forerun.engine.check.restart_point import RestartPoint
from forerun.engine.check.rounding import RoundingEstimate
from forerun.engine.check.settings import Check
from forerun.engine.check.state_distance import largest_size

__all__ = ["Check", "DeviationEstimator", "RestartPoint", "RoundingEstimate", "largest_size"]
