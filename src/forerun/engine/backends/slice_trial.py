"""SliceTrial: whether a round is evaluated sooner in slices side by side, or in one call."""

from __future__ import annotations

from typing import Final, final

COLD_RATIO: Final = 2.0  # by which slices may lose at first, when threads and caches are cold
RETRIED_DOUBLINGS: Final = 2  # of the steps in a call, after which slices are tried again


@final
class SliceTrial:
    """The seconds a step of sliced and of whole calls, by the size of the call: both are tried, the better is taken.

    Sizes are counted in doublings. What pays for calls of some size pays for larger ones too.
    """

    def __init__(self) -> None:
        self._sliced: dict[int, list[float]] = {}
        self._whole: dict[int, list[float]] = {}

    def add_call(self, count: int, seconds: float, *, is_sliced: bool) -> None:
        """Add the time of a call of so many steps."""
        times = self._sliced if is_sliced else self._whole
        times.setdefault(count.bit_length(), []).append(seconds / count)

    def prefers_slices(self, count: int) -> bool:
        """Return whether a call of so many steps shall be sliced."""
        size = count.bit_length()
        nearest = max((other for other in self._sliced if other <= size and other in self._whole), default=None)
        if nearest is None:
            return size not in self._sliced
        sliced_times, whole_time = self._sliced[nearest], min(self._whole[nearest])
        sliced_time = min(sliced_times)
        if sliced_time <= whole_time:
            return True
        if len(sliced_times) == 1 and sliced_time < COLD_RATIO * whole_time:
            return True
        return size >= nearest + RETRIED_DOUBLINGS and size not in self._sliced
