"""What a network predicts, and the denoised sample that it stands for.

Whatever a scheduler lets the network predict (noise, velocity, sample, flow), and however it scales its samples
(variance preserving, exploding, flow matching), the denoised sample is `D = p x + q E` with numbers of the step.
The denoised sample hardly moves along the path: it is the output to hold, see `forerun.diffusion.denoising`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from forerun.diffusion.schedulers.quirks import (
    PREDICTION_TYPE,
    SIGMA_DATA,
    SIGMAS,
    SIGNAL_TABLE,
    prediction_kind,
    signal_and_noise,
)
from forerun.diffusion.schedulers.replay import SchedulerReplay

LEAST_SHARE = 1e-4  # of E in D, below which D says too little of E
AS_PREDICTED = (
    0.0,
    1.0,
)  # `p` and `q` with which the output is the prediction itself
UNKNOWN_RATES = (0.0, 0.0)


@dataclass(frozen=True)
class PredictionSplit:
    """One step's `D = p x + q E`, and so `E = (D - p x) / q`; `unit` is the standard deviation of its samples."""

    p: float
    q: float
    unit: float

    @property
    def inverse(self) -> tuple[float, float]:
        """The pair `(p', d)` of `E = p' x + d D`."""
        return -self.p / self.q, 1 / self.q


def split_predictions(scheduler: Any, replay: SchedulerReplay) -> list[PredictionSplit]:
    """Return the split of every step of a replay."""
    return [_split_step(scheduler, replay, index) for index in range(len(replay))]


def _split_step(scheduler: Any, replay: SchedulerReplay, index: int) -> PredictionSplit:
    signal, noise = _signal_and_noise(scheduler, replay, index)
    unit = sqrt(signal**2 + noise**2) or 1.0
    p, q = _denoised_weights(scheduler, signal, noise)
    usable = isfinite(p) and isfinite(q) and abs(q) >= LEAST_SHARE
    if not usable:
        p, q = AS_PREDICTED  # as right as any, and slower to settle
    return PredictionSplit(p, q, unit)


def _denoised_weights(scheduler: Any, signal: float, noise: float) -> tuple[float, float]:
    """Return `p` and `q` of the denoised sample `D`, for a sample `x = signal D + noise z`."""
    kind = prediction_kind(scheduler)
    size = sqrt(signal**2 + noise**2)
    if kind == "preconditioned":
        return _preconditioned_weights(scheduler, noise)
    if not size:
        return AS_PREDICTED
    if kind == "epsilon" and signal > LEAST_SHARE:
        return 1 / signal, -noise / signal
    if kind == "v_prediction":  # v is of the sample scaled to unit variance
        return signal / size**2, -noise / size
    if kind == "flow_prediction":
        return 1.0, -noise
    return AS_PREDICTED


def _signal_and_noise(scheduler: Any, replay: SchedulerReplay, index: int) -> tuple[float, float]:
    """Return how much signal and noise the sample of a step holds; (0, 0) where the scheduler does not say."""
    step_index = replay.step_index(index)
    sigmas = SIGMAS.read(scheduler)
    if step_index is None or sigmas is None or not 0 <= step_index < len(sigmas):
        return _rates_by_timestep(scheduler, replay.timesteps[index])
    sigma = float(sigmas[step_index])
    kind = prediction_kind(scheduler)
    if kind == "flow_prediction":
        return 1 - sigma, sigma
    scaled = replay.input_scale(index) != 1
    rates = None if scaled else signal_and_noise(scheduler, sigmas[step_index])
    if rates is not None:
        return rates
    if scaled or kind == "preconditioned":  # variance exploding
        return 1.0, sigma
    return UNKNOWN_RATES


def _rates_by_timestep(scheduler: Any, timestep: Any) -> tuple[float, float]:
    table = SIGNAL_TABLE.read(scheduler)
    if table is None:
        return UNKNOWN_RATES
    place = int(timestep)
    if not 0 <= place < len(table):
        return UNKNOWN_RATES
    signal_variance = float(table[place])
    noise_variance = max(1 - signal_variance, 0.0)
    return sqrt(signal_variance), sqrt(noise_variance)


def _preconditioned_weights(scheduler: Any, sigma: float) -> tuple[float, float]:
    """Return the weights of Karras et al. 2022, equation 7, with the scheduler's own `sigma_data`."""
    data = float(SIGMA_DATA.read(scheduler))
    total = sqrt(sigma**2 + data**2)
    skip = data**2 / total**2
    out = sigma * data / total
    is_noise = PREDICTION_TYPE.read(scheduler) == "epsilon"
    return skip, out if is_noise else -out
