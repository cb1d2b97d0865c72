"""Denoising: sampling from a diffusion model as a Process, for a bare denoiser.

DDIM with any eta, and so DDPM: a chain `x_i` at the train timesteps `t_0 > t_1 > ...`, each state
`x = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise`. The output is the denoised sample, which hardly moves
once the picture is settled; `advance` is affine in state and output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from forerun.diffusion.schedule import Coefficients, Schedule
from forerun.diffusion.step_values import select_steps
from forerun.engine.process import Affine, Process

# (x: (N, *shape), t: int64 (N,) train timesteps) -> (N, *shape); where it is used says what it predicts
Denoiser = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


def from_noise(network: Denoiser, schedule: Schedule) -> Denoiser:
    """Return a denoiser from a network that predicts the noise: `x0 = (x - sqrt(1 - abar) eps) / sqrt(abar)`."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, noise = schedule.rates(t, x)
        return (x - noise * network(x, t)) / signal

    return denoise


def from_velocity(network: Denoiser, schedule: Schedule) -> Denoiser:
    """Return a denoiser from a network that predicts the velocity `v = sqrt(abar) eps - sqrt(1 - abar) x0`.

    `x0 = sqrt(abar) x - sqrt(1 - abar) v` (Salimans and Ho 2022, appendix D).
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, noise = schedule.rates(t, x)
        return signal * x - noise * network(x, t)

    return denoise


def clipped(
    denoiser: Denoiser,
    low: float = -1.0,
    high: float = 1.0,
) -> Denoiser:
    """Return a denoiser whose denoised samples stay in `[low, high]`; within `evaluate`, so `advance` stays affine."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return denoiser(x, t).clamp(low, high)

    return denoise


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

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        *,
        eta: float = 0.0,
        noise: Noise | None = None,
    ) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta = {eta}, but DDIM needs 0 <= eta <= 1; use 0 for DDIM, 1 for DDPM")
        if eta > 0 and noise is None:
            raise ValueError(
                f"eta = {eta} adds noise at every step, and there is none; draw it first, "
                "z = torch.randn(length, *x.shape), and pass noise=z.__getitem__"
            )
        self.length = len(schedule.timesteps)
        self.schedule = schedule
        self.denoiser = denoiser
        self.coefficients = Coefficients.ddim(schedule, eta)
        self._noise = noise
        # plain numbers multiply a tensor of any dtype in its dtype, and never wait for a device
        coefficients = self.coefficients
        self._state: list[float] = coefficients.state.tolist()
        self._output: list[float] = coefficients.output.tolist()
        self._sigma: list[float] = coefficients.noise.tolist()

    @property
    def levels(self) -> Tensor:
        """The unit of a tolerance per step: standard deviation of `q(x_{i+1} | x_i, x0)`, float64 `(length,)`.

        Whatever eta is, as in ParaDiGMS (Shih et al. 2023, section 3.2). The last step's is zero, which no
        residual can be held to: the value of the step before stands there.
        """
        levels = Coefficients.ddim(self.schedule, eta=1.0).noise
        if self.length > 1:
            levels[-1] = levels[-2]
        else:
            levels[-1] = 1.0
        return levels

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return denoised samples `(W, B, *shape)` of noisy ones, in one call of the denoiser with `N = W * B`."""
        timesteps = self.schedule.timesteps.to(inputs.device)
        row_timesteps = timesteps[steps].repeat_interleave(inputs.shape[1])
        rows = inputs.flatten(0, 1)
        denoised = self.denoiser(rows, row_timesteps)
        return denoised.reshape(inputs.shape)

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        from_state = self._state[step] * state
        from_output = self._output[step] * output
        return from_state + self.add_noise(step, from_output)

    def affine(self, steps: Tensor) -> Affine:
        """See `Process.affine`; `a` and `b` in float64 whatever the state's dtype, the shift in the noise's."""
        coefficients = self.coefficients
        return Affine(
            state=coefficients.state.to(steps.device)[steps],
            output=coefficients.output.to(steps.device)[steps],
            shift=self.shift(steps),
        )

    def add_noise(self, step: int, x: Tensor) -> Tensor:
        """Return `x + sigma_i z_i`, for `x` of shape `(B, *shape)`."""
        noise = self._scaled_noise(step)
        return x if noise is None else x + noise

    def shift(self, steps: Tensor) -> Tensor | None:
        """Return the noise `sigma_i z_i` of some steps, `(W, B, *shape)`; None where none of them has any."""
        indices = steps.tolist()
        noises = [self._scaled_noise(step) for step in indices]
        present = [noise for noise in noises if noise is not None]
        if not present:
            return None
        zero = torch.zeros_like(present[0])
        filled = [zero if noise is None else noise for noise in noises]
        return torch.stack(filled)

    def _scaled_noise(self, step: int) -> Tensor | None:
        sigma = self._sigma[step]
        if self._noise is None or not sigma:
            return None
        return sigma * self._noise(step)


@final
class Increments(Process):
    """The sampler of a `Denoising` in ParaDiGMS' split (Shih et al. 2023, algorithm 1): outputs are increments.

    `o_i = (c_x - 1) x_i + c_0 x0_i` and `x_{i+1} = x_i + o_i + sigma_i z_i`: the same path in order, more
    rounds in parallel, as the increment follows the input and the denoised sample hardly does.

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
        """Return increments without noise, `(W, B, *shape)`."""
        denoised = self.process.evaluate(steps, inputs)
        state = select_steps(self._state, steps, inputs)
        output = select_steps(self._output, steps, inputs)
        return state * inputs + output * denoised

    def advance(self, step: int, state: Tensor, output: Tensor) -> Tensor:
        return self.process.add_noise(step, state + output)

    def affine(self, steps: Tensor) -> Affine:
        """See `Process.affine`."""
        shift = self.process.shift(steps)
        return Affine.constant(steps, state=1.0, output=1.0, shift=shift)
