"""Interpolation of rows between the slots of a window that have one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def interpolate_rows(rows: Tensor, slots: Sequence[int], count: int) -> Tensor:
    """Return rows `(count, ...)` for every slot of a window, on lines between those of some slots.

    The first and the last of them are held towards the ends of the window. The rows of the slots stay as they are, bit
    for bit, whatever stands in their neighbours.

    Args:
        rows: `(K, ...)`, one a slot.
        slots: ascending, at least one.
        count: number of slots of the window.
    """
    if len(slots) == count:
        return rows
    places = torch.tensor(slots, device=rows.device)
    every_slot = torch.arange(count, device=rows.device)
    right = torch.searchsorted(places, every_slot).clamp_max(len(slots) - 1)
    left = (torch.searchsorted(places, every_slot, right=True) - 1).clamp_min(0)
    gaps = (places[right] - places[left]).clamp_min(1)
    shares = ((every_slot - places[left]) / gaps).to(rows.dtype).reshape(-1, *[1] * (rows.dim() - 1))
    spread = torch.lerp(rows[left], rows[right], shares)
    spread[places] = rows
    return spread
