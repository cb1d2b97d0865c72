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
        seed_generator = torch.Generator().manual_seed(seed)
        seeds = torch.randint(2**62, (len(like),), generator=seed_generator).tolist()
        self._generators = [torch.Generator(device=like.device).manual_seed(number) for number in seeds]

    def draw_fresh(self) -> Tensor:
        """Draw `(rows, B, H, A)`, nothing of it drawn before."""
        like = self._like
        draws = [
            torch.randn(self._shape, generator=generator, dtype=like.dtype, device=like.device)
            for generator in self._generators
        ]
        return torch.stack(draws, 1)


def shift_noise(rows: Tensor, actions: int, tail: Tensor) -> Tensor:
    """Return rows `(N, B, H, A)` moved some actions to the front of the horizon, the end filled from that of `tail`.

    Standard normal noise stays so: every element of the result is drawn once, and none depends on another.
    """
    return torch.cat([rows[:, :, actions:], tail[:, :, rows.shape[2] - actions :]], 2)


def select_environments(selection: Sequence[bool], selected: Tensor, others: Tensor) -> Tensor:
    """Return one tensor `(N, B, ...)` for the environments that are selected, and another one for the others."""
    if all(selection):
        return selected
    if not any(selection):
        return others
    mask = torch.tensor(selection, device=selected.device).reshape(1, -1, *[1] * (selected.dim() - 2))
    return torch.where(mask, selected, others)
