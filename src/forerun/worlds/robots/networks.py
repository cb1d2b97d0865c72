"""Networks that denoise chunks of actions: a residual perceptron, and a one-dimensional U-Net."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

TIMESTEP_WIDTH = 32  # of the timestep's embedding
CONDITION_WIDTH = 64  # of timestep and observation together, which scale and shift the hidden features
LONGEST_PERIOD = 1000.0  # of the embedding's frequencies, in timesteps over a radian


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
        blocks: number of residual blocks.
    """

    def __init__(
        self,
        shape: ChunkShape,
        width: int,
        blocks: int,
    ) -> None:
        super().__init__()
        numbers = shape.horizon * shape.action
        self.width = width
        self.condition = _ConditionEncoder(shape)
        self.inward = nn.Linear(numbers + shape.observed, width)
        # of all blocks in one product: at a batch of one, calls cost more than their arithmetic
        self.modulation = nn.Linear(CONDITION_WIDTH, blocks * 2 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, numbers))

    def forward(
        self,
        actions: Tensor,
        t: Tensor,
        observation: Tensor,
    ) -> Tensor:
        """Predict from noisy chunks `(B, horizon, action)`, timesteps `(B,)` and observations `(B, observed)`."""
        modulation = self.modulation(self.condition(t, observation)).split(self.width, -1)
        hidden = self.inward(torch.cat([actions.flatten(1), observation], -1))
        layers = zip(self.norms, self.first, self.second, strict=True)
        for k, (norm, first, second) in enumerate(layers):
            scale, shift = modulation[2 * k], modulation[2 * k + 1]
            modulated = first(norm(hidden)) * (1 + scale) + shift
            hidden = hidden + second(nn.functional.silu(modulated))
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
        self.condition = _ConditionEncoder(shape)
        self.inward = nn.Conv1d(shape.action, width, 3, padding=1)
        self.down = _ConvolutionPair(width, width)
        self.shrink = nn.Conv1d(width, 2 * width, 4, stride=2, padding=1)
        self.middle = nn.ModuleList(_ConvolutionPair(2 * width, 2 * width) for _ in range(2))
        self.grow = nn.ConvTranspose1d(2 * width, width, 4, stride=2, padding=1)
        self.up = _ConvolutionPair(2 * width, width)
        self.outward = nn.Conv1d(width, shape.action, 1)

    def forward(
        self,
        actions: Tensor,
        t: Tensor,
        observation: Tensor,
    ) -> Tensor:
        """Predict from noisy chunks `(B, horizon, action)`, timesteps `(B,)` and observations `(B, observed)`."""
        condition = self.condition(t, observation)
        full = self.down(self.inward(actions.mT), condition)
        half = self.shrink(full)
        for block in self.middle:
            half = block(half, condition)
        merged = self.up(torch.cat([full, self.grow(half)], 1), condition)
        predicted: Tensor = self.outward(merged).mT
        return predicted


class _ConvolutionPair(nn.Module):
    """Two convolutions with a scale and a shift between, added to the input."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv1d(inner, outer, 5, padding=2),
            nn.GroupNorm(8, outer),
        )
        self.modulation = nn.Linear(CONDITION_WIDTH, 2 * outer)
        self.second = nn.Sequential(
            nn.SiLU(),
            nn.Conv1d(outer, outer, 5, padding=2),
            nn.GroupNorm(8, outer),
            nn.SiLU(),
        )
        self.beside: nn.Module = nn.Identity()
        if inner != outer:
            self.beside = nn.Conv1d(inner, outer, 1)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[..., None].chunk(2, 1)
        modulated = self.first(hidden) * (1 + scale) + shift
        output: Tensor = self.beside(hidden) + self.second(modulated)
        return output


class _ConditionEncoder(nn.Module):
    """Timestep and observation as one vector `(B, CONDITION_WIDTH)`; the timestep's embedding is looked up."""

    table: Tensor

    def __init__(self, shape: ChunkShape) -> None:
        super().__init__()
        self.register_buffer("table", _timestep_table(shape.train_steps), persistent=False)
        self.layer = nn.Sequential(
            nn.Linear(TIMESTEP_WIDTH + shape.observed, CONDITION_WIDTH),
            nn.SiLU(),
        )

    def forward(self, t: Tensor, observation: Tensor) -> Tensor:
        condition: Tensor = self.layer(torch.cat([self.table[t], observation], -1))
        return condition


def _timestep_table(steps: int) -> Tensor:
    """Return sines and cosines of every timestep, `(steps, TIMESTEP_WIDTH)` (Vaswani et al. 2017, 3.5)."""
    half = TIMESTEP_WIDTH // 2
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(half) / half)
    angles = torch.arange(steps)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)
