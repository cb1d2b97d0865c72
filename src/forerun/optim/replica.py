"""What is raised where a replica of the user's loop can no longer stand for it."""


class ReplicaDiffers(Exception):
    """A step showed that the replica would not do what the user's own loop does; the plain loop is to take over.

    Args:
        reason: what differs, as a clause: "the loss changes params[0] in place".
        is_late: whether earlier steps may have been wrong too, as only some of them are witnessed.
    """

    def __init__(self, reason: str, *, is_late: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_late = is_late
