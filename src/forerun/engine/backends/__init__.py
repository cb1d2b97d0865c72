"""Where rounds are evaluated."""

from forerun.engine.backends.base import Backend
from forerun.engine.backends.distributed import Distributed
from forerun.engine.backends.local import Local
from forerun.engine.backends.rank_errors import RankFailed, RankLost, RanksDisagree
from forerun.engine.backends.threads import Threads

__all__ = ["Backend", "Distributed", "Local", "RankFailed", "RankLost", "RanksDisagree", "Threads"]
