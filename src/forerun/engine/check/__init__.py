"""The check: an estimate of how far the accepted path may have drifted from the sequential run."""

from forerun.engine.check.settings import Check

__all__ = ["Check"]
