"""Networks that denoise chunks of actions: a residual perceptron, and a one-dimensional U-Net."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

TIMESTEP_WIDTH = 32  # of the timestep
CONDITION_WIDTH = 64  # of timestep and observation together, which scales and shifts the hidden features


@dataclass(frozen=True)
class ChunkShape:
    """What goes in and comes out.

    Args:
        horizon: actions in a chunk.
        action: numbers in an action.
        observed: numbers in an observation.
        train_steps: timesteps that the network is trained at.
    """

    horizon: int
    action: int
    observed: int
    train_steps: int = 100


@final
class ChunkPerceptron(nn.Module):
    """A residual perceptron on the flattened chunk.

        h <- h + W2 silu(W1 norm(h) (1 + scale) + shift),    scale and shift from timestep and observation

    Args:
        shape: of chunks and observations.
        width: of the residual stream.
        blocks: how many.
    """

    def __init__(self, shape: ChunkShape, width: int, blocks: int) -> None:
        super().__init__()
        self.width = width
        self.condition = _Condition(shape)
        self.inward = nn.Linear(shape.horizon * shape.action + shape.observed, width)
        # of all blocks in one product: at a batch of one, calls cost more than their arithmetic
        self.modulation = nn.Linear(CONDITION_WIDTH, blocks * 2 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, shape.horizon * shape.action))

    def forward(self, actions: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        """Predict from noisy chunks `(B, horizon, action)`, timesteps `(B,)` and observations `(B, observed)`."""
        changes = self.modulation(self.condition(t, observation)).split(self.width, -1)
        hidden = self.inward(torch.cat([actions.flatten(1), observation], -1))
        for k, (norm, first, second) in enumerate(zip(self.norms, self.first, self.second, strict=True)):
            scale, shift = changes[2 * k], changes[2 * k + 1]
            hidden = hidden + second(nn.functional.silu(first(norm(hidden)) * (1 + scale) + shift))
        predicted: Tensor = self.outward(hidden).reshape(actions.shape)
        return predicted


@final
class ChunkUNet(nn.Module):
    """Convolutions along the chunk at two resolutions, in the manner of diffusion policy (Chi et al. 2023), small.

    Args:
        shape: of chunks and observations; an even horizon.
        width: channels at the full resolution; twice as many at the half.
    """

    def __init__(self, shape: ChunkShape, width: int) -> None:
        super().__init__()
        self.condition = _Condition(shape)
        self.inward = nn.Conv1d(shape.action, width, 3, padding=1)
        self.down = _Convolutions(width, width)
        self.shrink = nn.Conv1d(width, 2 * width, 4, stride=2, padding=1)
        self.middle = nn.ModuleList(_Convolutions(2 * width, 2 * width) for _ in range(2))
        self.grow = nn.ConvTranspose1d(2 * width, width, 4, stride=2, padding=1)
        self.up = _Convolutions(2 * width, width)
        self.outward = nn.Conv1d(width, shape.action, 1)

    def forward(self, actions: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        """As of `ChunkPerceptron`."""
        condition = self.condition(t, observation)
        full = self.down(self.inward(actions.mT), condition)
        half = self.shrink(full)
        for each in self.middle:
            half = each(half, condition)
        joined = self.up(torch.cat([full, self.grow(half)], 1), condition)
        predicted: Tensor = self.outward(joined).mT
        return predicted


class _Convolutions(nn.Module):
    """Two convolutions with a scale and a shift between, added to the input."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(inner, outer, 5, padding=2), nn.GroupNorm(8, outer))
        self.modulation = nn.Linear(CONDITION_WIDTH, 2 * outer)
        self.second = nn.Sequential(nn.SiLU(), nn.Conv1d(outer, outer, 5, padding=2), nn.GroupNorm(8, outer), nn.SiLU())
        self.beside = nn.Conv1d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[..., None].chunk(2, 1)
        following: Tensor = self.beside(hidden) + self.second(self.first(hidden) * (1 + scale) + shift)
        return following


class _Condition(nn.Module):
    """Timestep and observation as one vector `(B, CONDITION_WIDTH)`; sines and cosines of the timestep from a table."""

    table: Tensor

    def __init__(self, shape: ChunkShape) -> None:
        super().__init__()
        self.register_buffer("table", _sines(shape.train_steps), persistent=False)
        self.layer = nn.Sequential(nn.Linear(TIMESTEP_WIDTH + shape.observed, CONDITION_WIDTH), nn.SiLU())

    def forward(self, t: Tensor, observation: Tensor) -> Tensor:
        condition: Tensor = self.layer(torch.cat([self.table[t], observation], -1))
        return condition


def _sines(steps: int) -> Tensor:
    """Of every timestep at `TIMESTEP_WIDTH / 2` frequencies, `(steps, TIMESTEP_WIDTH)` (Vaswani et al. 2017, 3.5)."""
    half = TIMESTEP_WIDTH // 2
    angles = torch.arange(steps)[:, None] * torch.exp(-math.log(1000.0) * torch.arange(half) / half)
    return torch.cat([angles.sin(), angles.cos()], -1)
