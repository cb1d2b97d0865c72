"""The safeguard of a map for which none was asked."""

from __future__ import annotations

from forerun.engine.map_rows import MapRows
from forerun.engine.safeguards.base import Safeguard
from forerun.engine.safeguards.bounded import Bounded
from forerun.engine.safeguards.monotone import Monotone


def choose_safeguard(rows: MapRows) -> Safeguard:
    """Return `Monotone()` for a map with a merit, and `Bounded()` for others."""
    return Monotone() if rows.has_merit() else Bounded()
