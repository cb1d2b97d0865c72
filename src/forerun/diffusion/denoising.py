"""Denoising: sampling from a diffusion model as a Process, for a bare denoiser.

DDIM with any eta, and so DDPM: a chain `x_i` at the train timesteps `t_0 > t_1 > ...`, each state
`x = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise`. The output is the denoised sample, which hardly moves
once the picture is settled; `advance` is affine in state and output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from forerun.engine.process import Affine, Process

# (x: (N, *shape), t: int64 (N,) train timesteps) -> (N, *shape); what it predicts is told by where it is used
Denoiser = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


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
        abar, timesteps = self.alphas_cumprod, self.timesteps
        if abar.dtype != torch.float64 or abar.dim() != 1 or not bool(((abar > 0) & (abar <= 1)).all()):
            raise ValueError(
                f"alphas_cumprod must be float64 (train_steps,) with values in (0, 1], got {abar.dtype} "
                f"{list(abar.shape)}; use torch.cumprod(1 - betas.double(), 0)"
            )
        if timesteps.dtype != torch.int64 or timesteps.dim() != 1 or not len(timesteps):
            raise ValueError(
                f"timesteps must be int64 (length,), got {timesteps.dtype} {list(timesteps.shape)}; "
                "use Schedule.linear().spaced(length)"
            )
        if bool((timesteps.diff() >= 0).any()) or int(timesteps[0]) >= len(abar) or int(timesteps[-1]) < 0:
            raise ValueError(
                f"timesteps must descend from at most {len(abar) - 1} to at least 0, got {timesteps.tolist()}; "
                "sort them, noisiest first"
            )

    @classmethod
    def linear(cls, beta_start: float = 1e-4, beta_end: float = 0.02, train_steps: int = 1000) -> Schedule:
        """Betas on a line, every timestep visited (Ho et al. 2020, section 4)."""
        betas = torch.linspace(beta_start, beta_end, train_steps, dtype=torch.float64)
        return cls(torch.cumprod(1 - betas, 0), torch.arange(train_steps).flip(0))

    def spaced(self, length: int) -> Schedule:
        """The same noise, visited at `length` timesteps spread evenly from the noisiest to 0, both included.

        Raises:
            ValueError: `length` is not in `1 .. train_steps`.
        """
        train_steps = len(self.alphas_cumprod)
        if not 1 <= length <= train_steps:
            raise ValueError(f"spaced({length}) of {train_steps} train steps; choose a length in 1 .. {train_steps}")
        spread = torch.linspace(train_steps - 1, 0, length, dtype=torch.float64, device=self.timesteps.device)
        return replace(self, timesteps=spread.round().long())

    def to(self, device: torch.device | str) -> Schedule:
        """The schedule on a device: put it where the states live, to save a copy per round."""
        return Schedule(self.alphas_cumprod.to(device), self.timesteps.to(device))

    def rates(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`sqrt(abar_t)` and `sqrt(1 - abar_t)`, shaped `(N, 1, ...)` to multiply `like`, in its dtype.

        Args:
            t: int64 `(N,)`.
            like: `(N, *shape)`.
        """
        abar = self.alphas_cumprod.to(like.device)[t].reshape(-1, *[1] * (like.dim() - 1))
        return abar.sqrt().to(like.dtype), (1 - abar).sqrt().to(like.dtype)


def from_noise(network: Denoiser, schedule: Schedule) -> Denoiser:
    """A denoiser from a network that predicts the noise: `x0 = (x - sqrt(1 - abar) eps) / sqrt(abar)`."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, noise = schedule.rates(t, x)
        return (x - noise * network(x, t)) / signal

    return denoise


def from_velocity(network: Denoiser, schedule: Schedule) -> Denoiser:
    """A denoiser from a network that predicts the velocity `v = sqrt(abar) eps - sqrt(1 - abar) x0`.

    `x0 = sqrt(abar) x - sqrt(1 - abar) v` (Salimans and Ho 2022, appendix D).
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, noise = schedule.rates(t, x)
        return signal * x - noise * network(x, t)

    return denoise


def clipped(denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """A denoiser whose denoised samples stay in `[low, high]`; inside `evaluate`, so `advance` stays affine."""
    return lambda x, t: denoiser(x, t).clamp(low, high)


@dataclass(frozen=True)
class Coefficients:
    """The sampler's steps, `x_{i+1} = state_i x_i + output_i x0_i + noise_i z_i`; each float64 `(length,)`."""

    state: Tensor
    output: Tensor
    noise: Tensor

    @classmethod
    def ddim(cls, schedule: Schedule, eta: float) -> Coefficients:
        """DDIM (Song et al. 2021, equations 12 and 16), the noise prediction written through `x0`.

        With `a = abar_t` and `a'` that of the next timestep (1 after the last):

            noise  = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')
            state  = sqrt(1 - a' - noise^2) / sqrt(1 - a)
            output = sqrt(a') - state sqrt(a)

        At `eta = 1` this is DDPM's ancestral step with the posterior ("fixed small") variance, of the chain
        of the visited timesteps: `noise^2 = beta (1 - a') / (1 - a)` and `state = sqrt(1 - beta) (1 - a') / (1 - a)`
        with `beta = 1 - a / a'` (Ho et al. 2020, equation 7).
        """
        a, following = _signal(schedule)
        noise = eta * ((1 - following) / (1 - a) * (1 - a / following)).sqrt()
        state = ((1 - following - noise**2).clamp(min=0) / (1 - a)).sqrt()
        return cls(state, following.sqrt() - state * a.sqrt(), noise)


@final
class Denoising(Process):
    """Sampling by DDIM (`eta=0`), by DDPM (`eta=1`) or between.

    State and input: noisy samples `(B, *shape)`; output: denoised samples `(B, *shape)`. The step is
    `x_{i+1} = c_x x_i + c_0 x0_i + sigma_i z_i`, see `Coefficients.ddim`, computed once in float64.

    Args:
        denoiser: predicts the *denoised sample*, `(x: (N, *shape), t: int64 (N,)) -> (N, *shape)`; wrap a network
            that predicts something else by `from_noise` or `from_velocity`. A round is one call with `N = W * B`.
        schedule: the timesteps to visit; `Schedule.linear().spaced(length)`.
        eta: share of fresh noise, 0 .. 1.
        noise: `z_i` from the step, like the state: the same tensor every time it is asked for the same step.
            Drawn before: `noise=z.__getitem__` with `z` of shape `(length, B, *shape)`. Never asked for a step
            without noise, which is every step at `eta=0` and the last step always.

    Raises:
        ValueError: `eta` is not in 0 .. 1, or it is not 0 and there is no noise.
    """

    batch_dims = 1

    def __init__(self, denoiser: Denoiser, schedule: Schedule, *, eta: float = 0.0, noise: Noise | None = None) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta = {eta}, but DDIM needs 0 <= eta <= 1; use 0 for DDIM, 1 for DDPM")
        if eta > 0 and noise is None:
            raise ValueError(
                f"eta = {eta} adds noise at every step, and none was given; draw it first, "
                "z = torch.randn(length, *x.shape), and pass noise=z.__getitem__"
            )
        self.length = len(schedule.timesteps)
        self.schedule = schedule
        self.denoiser = denoiser
        self.coefficients = Coefficients.ddim(schedule, eta)
        self._noise = noise
        # plain numbers multiply a tensor of any dtype in its dtype, and never wait for a device
        self._state: list[float] = self.coefficients.state.tolist()
        self._output: list[float] = self.coefficients.output.tolist()
        self._sigma: list[float] = self.coefficients.noise.tolist()

    @property
    def levels(self) -> Tensor:
        """The unit of a tolerance per step: standard deviation of `q(x_{i+1} | x_i, x0)`, float64 `(length,)`.

        Whatever eta is, as in ParaDiGMS (Shih et al. 2023, section 3.2). The last step's is zero, which no
        residual can be held to: the value of the step before stands there.
        """
        levels = Coefficients.ddim(self.schedule, eta=1.0).noise
        levels[-1] = levels[-2] if self.length > 1 else 1.0
        return levels

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Denoised samples `(W, B, *shape)` of noisy ones, in one call of the denoiser with `N = W * B`."""
        timesteps = self.schedule.timesteps.to(inputs.device)[steps]
        flat = self.denoiser(inputs.flatten(0, 1), timesteps.repeat_interleave(inputs.shape[1]))
        return flat.reshape(inputs.shape)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return self._state[step] * state + self.add_noise(step, self._output[step] * output)

    def affine(self, steps: Tensor) -> Affine:
        """See `Process.affine`; `a` and `b` in float64 whatever the state's dtype, the shift in the noise's."""
        coefficients = self.coefficients
        return Affine(
            state=coefficients.state.to(steps.device)[steps],
            output=coefficients.output.to(steps.device)[steps],
            shift=self.shift(steps),
        )

    def add_noise(self, step: int, x: Tensor) -> Tensor:
        """`x + sigma_i z_i`, for `x` of shape `(B, *shape)`."""
        noise = self._scaled_noise(step)
        return x if noise is None else x + noise

    def shift(self, steps: Tensor) -> Tensor | None:
        """The noise `sigma_i z_i` of some steps, `(W, B, *shape)`; None where none of them has any."""
        found = [self._scaled_noise(step) for step in steps.tolist()]
        drawn = next((z for z in found if z is not None), None)
        if drawn is None:
            return None
        return torch.stack([torch.zeros_like(drawn) if z is None else z for z in found])

    def _scaled_noise(self, step: int) -> Tensor | None:
        sigma = self._sigma[step]
        return None if self._noise is None or not sigma else sigma * self._noise(step)


@final
class Increments(Process):
    """The same sampler in ParaDiGMS' split (Shih et al. 2023, algorithm 1): the output is the step's increment.

    `o_i = (c_x - 1) x_i + c_0 x0_i` and `x_{i+1} = x_i + o_i + sigma_i z_i`: the same path in order, more
    rounds ahead of order, as the increment follows the input and the denoised sample hardly does.

    Args:
        process: the sampler; its denoiser, schedule and noise are used as they are.
    """

    batch_dims = 1

    def __init__(self, process: Denoising) -> None:
        self.length = process.length
        self.process = process
        self._state = process.coefficients.state - 1
        self._output = process.coefficients.output

    @property
    def levels(self) -> Tensor:
        """See `Denoising.levels`."""
        return self.process.levels

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Increments without noise, `(W, B, *shape)`."""
        denoised = self.process.evaluate(steps, inputs)
        state, output = (_per_step(c, steps, inputs) for c in (self._state, self._output))
        return state * inputs + output * denoised

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return self.process.add_noise(step, state + output)

    def affine(self, steps: Tensor) -> Affine:
        """See `Process.affine`."""
        return Affine.constant(steps, state=1.0, output=1.0, shift=self.process.shift(steps))


def _signal(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """`abar` of each visited timestep and of the one after it, float64 `(length,)`; 1 after the last."""
    visited = schedule.alphas_cumprod[schedule.timesteps]
    return visited, torch.cat([visited[1:], visited.new_ones(1)])


def _per_step(values: Tensor, steps: Tensor, like: Tensor) -> Tensor:
    """`values[steps]` in the shape `(W, 1, ...)` and the dtype of `like`, `(W, B, *shape)`."""
    return values.to(like.device)[steps].reshape(-1, *[1] * (like.dim() - 1)).to(like.dtype)
