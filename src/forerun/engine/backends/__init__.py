"""Where rounds are evaluated."""

from forerun.engine.backends.base import Backend
from forerun.engine.backends.distributed import Distributed, RankFailed, RankLost, RanksDisagree
from forerun.engine.backends.local import Local

__all__ = ["Backend", "Distributed", "Local", "RankFailed", "RankLost", "RanksDisagree"]
