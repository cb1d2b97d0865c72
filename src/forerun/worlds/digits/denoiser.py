"""A diffusion model small enough to ship: the exact denoiser of a data set, and a network trained on the digits."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import final

import torch
from torch import Tensor, nn

from forerun.diffusion.schedule import Schedule
from forerun.worlds.digits.data import DIGIT_PIXELS
from forerun.worlds.weights import fill_network


@final
class ExactDenoiser(nn.Module):
    """The best denoiser of a data set: the posterior mean of the clean sample, by Bayes' rule.

        E[x0 | x_t] = sum_m w_m d_m,    w = softmax_m(-|x_t - sqrt(abar_t) d_m|^2 / (2 (1 - abar_t)))

    Costs one product with the whole data set; a sampler that uses it draws from the data set itself.
    Calls take `x: (N, *shape)` and `t: int64 (N,)`, return `(N, *shape)`, and compute in the dtype of `x`.

    Args:
        data: `(M, *shape)`.
        schedule: gives `abar`; what it visits is not used.
        chunk: number of rows of `x` evaluated at a time; bounds the memory to `chunk * M` numbers.
    """

    data: Tensor

    def __init__(
        self,
        data: Tensor,
        schedule: Schedule | None = None,
        *,
        chunk: int = 4096,
    ) -> None:
        super().__init__()
        self.register_buffer("data", data.flatten(1))
        self.schedule = schedule or Schedule.linear()
        self.chunk = chunk

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        row_chunks = x.flatten(1).split(self.chunk)
        timestep_chunks = t.split(self.chunk)
        means = []
        for rows, timesteps in zip(row_chunks, timestep_chunks, strict=True):
            means.append(self._posterior_mean(rows, timesteps))
        return torch.cat(means).reshape(x.shape)

    def _posterior_mean(self, x: Tensor, t: Tensor) -> Tensor:
        data = self.data.to(x.dtype)
        signal, noise = self.schedule.rates(t, x)
        # the square, less |x|^2, which every m shares
        logits = (x @ data.T - signal * data.square().sum(-1) / 2) * signal / noise.square()
        return logits.softmax(-1) @ data


@final
class DigitsDenoiser(nn.Module):
    """A residual perceptron that denoises digits; smooth throughout, since slopes are taken through it.

    Calls take `x: (N, 64)` and `t: int64 (N,)` of `Schedule.linear()`, and return the denoised sample `(N, 64)`.
    Inside, it predicts the velocity (`from_velocity` has the formula), whose scale is the same at every timestep.

    Args:
        width: of the residual stream.
        blocks: number of residual blocks.
        embedding: width of the timestep's embedding; even.
    """

    def __init__(
        self,
        width: int = 192,
        blocks: int = 3,
        embedding: int = 32,
    ) -> None:
        super().__init__()
        self.config = {"width": width, "blocks": blocks, "embedding": embedding}
        self.schedule = Schedule.linear()
        self.inward = nn.Linear(DIGIT_PIXELS, width)
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU())
        self.blocks = nn.ModuleList(_ModulatedBlock(width, embedding) for _ in range(blocks))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, DIGIT_PIXELS))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        signal, noise = self.schedule.rates(t, x)
        return signal * x - noise * self.predict_velocity(x, t)

    def predict_velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """Return what the network itself predicts, `sqrt(abar) eps - sqrt(1 - abar) x0`, `(N, 64)`."""
        time = self.time(_embed_timesteps(t, self.config["embedding"], x.dtype))
        hidden = self.inward(x)
        for block in self.blocks:
            hidden = block(hidden, time)
        velocity: Tensor = self.outward(hidden)
        return velocity


class _ModulatedBlock(nn.Module):
    """The residual block `h + W2 silu(W1 norm(h) (1 + scale) + shift)`, with scale and shift from the timestep."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.second = nn.Linear(width, width)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulation(time).chunk(2, -1)
        modulated = self.first(self.norm(hidden)) * (1 + scale) + shift
        output: Tensor = hidden + self.second(nn.functional.silu(modulated))
        return output


def load_digits_denoiser() -> DigitsDenoiser:
    """Return the trained network shipped with forerun, in float32, ready to evaluate.

    `weights/digits.json` beside it says how it was trained (`python -m forerun.worlds.digits.train_denoiser`).
    """
    weights = resources.files("forerun.worlds.digits") / "weights"
    facts = json.loads((weights / "digits.json").read_text())
    return fill_network(DigitsDenoiser(**facts["config"]), weights / "digits.safetensors")


def _embed_timesteps(t: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return sines and cosines of timesteps at `width / 2` frequencies, `(N, width)` (Vaswani et al. 2017, 3.5)."""
    half = width // 2
    indices = torch.arange(half, device=t.device, dtype=dtype)
    frequencies = torch.exp(-math.log(1000.0) * indices / half)
    angles = t[:, None].to(dtype) * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)
