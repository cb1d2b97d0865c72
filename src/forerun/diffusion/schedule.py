"""The noise schedule of a diffusion model, and the coefficients of the steps of DDIM and DDPM on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.diffusion.step_values import append_axes


@dataclass(frozen=True)
class Schedule:
    """How much signal is left at each train timestep, and which of them a sampler visits.

    Args:
        alphas_cumprod: `abar`, float64 `(train_steps,)`, in (0, 1], not increasing.
        timesteps: int64 `(length,)`, strictly descending train timesteps; the last step leads to the clean sample.
    """

    alphas_cumprod: Tensor
    timesteps: Tensor

    def __post_init__(self) -> None:
        self._check_signal()
        self._check_timesteps()

    def _check_signal(self) -> None:
        abar = self.alphas_cumprod
        in_range = (abar > 0) & (abar <= 1)
        if abar.dtype != torch.float64 or abar.dim() != 1 or not bool(in_range.all()):
            raise ValueError(
                f"alphas_cumprod must be float64 (train_steps,) with values in (0, 1], got {abar.dtype} "
                f"{list(abar.shape)}; use torch.cumprod(1 - betas.double(), 0)"
            )

    def _check_timesteps(self) -> None:
        timesteps = self.timesteps
        largest = len(self.alphas_cumprod) - 1
        if timesteps.dtype != torch.int64 or timesteps.dim() != 1 or not len(timesteps):
            raise ValueError(
                f"timesteps must be int64 (length,), got {timesteps.dtype} {list(timesteps.shape)}; "
                "use Schedule.linear().spaced(length)"
            )
        descending = bool((timesteps.diff() < 0).all())
        first, last = int(timesteps[0]), int(timesteps[-1])
        if not descending or first > largest or last < 0:
            raise ValueError(
                f"timesteps must descend from at most {largest} to at least 0, got {timesteps.tolist()}; "
                "sort them, noisiest first"
            )

    @classmethod
    def linear(
        cls,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        train_steps: int = 1000,
    ) -> Schedule:
        """Return the schedule of betas on a line, every timestep visited (Ho et al. 2020, section 4)."""
        betas = torch.linspace(beta_start, beta_end, train_steps, dtype=torch.float64)
        alphas_cumprod = torch.cumprod(1 - betas, 0)
        timesteps = torch.arange(train_steps).flip(0)
        return cls(alphas_cumprod, timesteps)

    def spaced(self, length: int) -> Schedule:
        """Return the schedule with the same noise, visited at `length` timesteps spread evenly from the noisiest to 0.

        Both ends are included.

        Raises:
            ValueError: `length` is not in `1 .. train_steps`.
        """
        train_steps = len(self.alphas_cumprod)
        if not 1 <= length <= train_steps:
            raise ValueError(f"spaced({length}) of {train_steps} train steps; choose a length in 1 .. {train_steps}")
        spread = torch.linspace(
            train_steps - 1,
            0,
            length,
            dtype=torch.float64,
            device=self.timesteps.device,
        )
        return replace(self, timesteps=spread.round().long())

    def to(self, device: torch.device | str) -> Schedule:
        """Return the schedule on a device: put it where the states live, to save a copy per round."""
        return Schedule(self.alphas_cumprod.to(device), self.timesteps.to(device))

    def rates(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return `sqrt(abar_t)` and `sqrt(1 - abar_t)`, shaped `(N, 1, ...)` to multiply `like`, in its dtype.

        Args:
            t: int64 `(N,)`.
            like: `(N, *shape)`.
        """
        abar = self.alphas_cumprod.to(like.device)[t]
        abar = append_axes(abar, like)
        signal = abar.sqrt().to(like.dtype)
        noise = (1 - abar).sqrt().to(like.dtype)
        return signal, noise


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of the steps, `x_{i+1} = state_i x_i + output_i x0_i + noise_i z_i`; each float64 `(length,)`."""

    state: Tensor
    output: Tensor
    noise: Tensor

    @classmethod
    def ddim(cls, schedule: Schedule, eta: float) -> Coefficients:
        """Return those of DDIM (Song et al. 2021, equations 12 and 16), the noise prediction written through `x0`.

        With `a = abar_t` and `a'` that of the next timestep (1 after the last):

            noise  = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')
            state  = sqrt(1 - a' - noise^2) / sqrt(1 - a)
            output = sqrt(a') - state sqrt(a)

        At `eta = 1` this is DDPM's ancestral step with the posterior ("fixed small") variance, of the chain
        of the visited timesteps: `noise^2 = beta (1 - a') / (1 - a)` and `state = sqrt(1 - beta) (1 - a') / (1 - a)`
        with `beta = 1 - a / a'` (Ho et al. 2020, equation 7).
        """
        a, next_a = _signal_by_step(schedule)
        noise = eta * ((1 - next_a) / (1 - a) * (1 - a / next_a)).sqrt()
        state = ((1 - next_a - noise**2).clamp(min=0) / (1 - a)).sqrt()
        output = next_a.sqrt() - state * a.sqrt()
        return cls(state, output, noise)


def _signal_by_step(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Return `abar` of each visited timestep and of the one after it, float64 `(length,)`; 1 after the last."""
    visited = schedule.alphas_cumprod[schedule.timesteps]
    shifted = torch.cat([visited[1:], visited.new_ones(1)])
    return visited, shifted
