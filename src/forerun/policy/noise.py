"""The noise of every tick: standard normal, each environment's own, shifted along the horizon where a tick follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor


@final
class TickNoise:
    """Draws the noise of a tick: of the first samples, and of every step that adds some.

    Args:
        seed: of all environments.
        rows: tensors of noise a tick: one, or one more than there are steps.
        like: samples `(B, H, A)`.
    """

    def __init__(self, seed: int, rows: int, like: Tensor) -> None:
        self._shape = (rows, *like.shape[1:])
        self._like = like
        first = torch.Generator().manual_seed(seed)
        seeds = torch.randint(2**62, (len(like),), generator=first).tolist()
        self._generators = [torch.Generator(device=like.device).manual_seed(each) for each in seeds]

    def fresh(self) -> Tensor:
        """`(rows, B, H, A)`, nothing of it drawn before."""
        like = self._like
        drawn = [
            torch.randn(self._shape, generator=own, dtype=like.dtype, device=like.device) for own in self._generators
        ]
        return torch.stack(drawn, 1)


def shifted(rows: Tensor, by: int, tail: Tensor) -> Tensor:
    """`rows` `(N, B, H, A)` moved `by` actions to the front of the horizon, the end filled from that of `tail`.

    Standard normal noise stays so: every element of the result is drawn once, and none depends on another.
    """
    return torch.cat([rows[:, :, by:], tail[:, :, rows.shape[2] - by :]], 2)


def chosen(which: Sequence[bool], here: Tensor, there: Tensor) -> Tensor:
    """`here` `(N, B, ...)` for the environments that are chosen, `there` for the others."""
    if all(which):
        return here
    if not any(which):
        return there
    mask = torch.tensor(which, device=here.device).reshape(1, -1, *[1] * (here.dim() - 2))
    return torch.where(mask, here, there)
