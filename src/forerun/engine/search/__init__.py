"""How the search for a fixed point goes on, and what comes of it."""

from forerun.engine.limit_status import LimitStatus
from forerun.engine.search.checkpoint import LimitCheckpoint
from forerun.engine.search.event import LimitEvent
from forerun.engine.search.limit import Limit, NoLimit
from forerun.engine.search.options import LimitOptions

__all__ = ["Limit", "LimitCheckpoint", "LimitEvent", "LimitOptions", "LimitStatus", "NoLimit"]
