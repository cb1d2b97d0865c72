"""What can go wrong between the ranks of a distributed run."""


class RankFailed(RuntimeError):
    """Evaluate raised on some rank; raised on all of them, in the same round. The group is still usable."""


class RanksDisagree(RuntimeError):
    """The ranks do not do the same; raised on all of them, in the same round. The group is still usable."""


class RankLost(RuntimeError):
    """A rank died, hung or left; raised on the others. The group cannot be used any more."""
