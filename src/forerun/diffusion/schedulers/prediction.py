"""What a network predicts, and the denoised sample that it stands for.

Whatever a scheduler lets the network predict (noise, velocity, sample, flow), and however it scales its samples
(variance preserving, exploding, flow matching), the denoised sample is `D = p x + q E` with numbers of the step.
The denoised sample hardly moves along the path: it is the output to hold, see `forerun.diffusion.denoising`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from forerun.diffusion.schedulers.history import SchedulerReplay

SMALL = 1e-4  # a share of E in D below which D tells too little of E


@dataclass(frozen=True)
class Split:
    """One step's `D = p x + q E`, and so `E = (D - p x) / q`; `unit` is the standard deviation of its samples."""

    p: float
    q: float
    unit: float

    @property
    def back(self) -> tuple[float, float]:
        """`E = x' x + d D`, the pair `(x', d)`."""
        return -self.p / self.q, 1 / self.q


def splits(scheduler: Any, script: SchedulerReplay) -> list[Split]:
    """The split of every step of a script."""
    return [_split(scheduler, script, index) for index in range(len(script))]


def _split(scheduler: Any, script: SchedulerReplay, index: int) -> Split:
    scale = script.scale(index)
    kind = _kind(scheduler)
    signal, noise = _rates(scheduler, script, index, scale)
    unit = sqrt(signal**2 + noise**2) if signal or noise else 1.0
    p, q = _formula(scheduler, kind, signal, noise)
    if not (isfinite(p) and isfinite(q) and abs(q) >= SMALL):
        p, q = 0.0, 1.0  # the prediction itself: right as any, and slower to settle
    return Split(p, q, unit)


def _formula(scheduler: Any, kind: str, signal: float, noise: float) -> tuple[float, float]:
    """`D` for a sample `x = signal D + noise z`."""
    size = sqrt(signal**2 + noise**2)
    if kind == "preconditioned":
        return _preconditioning(scheduler, noise)
    if not size or kind == "sample":
        return 0.0, 1.0
    if kind == "epsilon":
        return (1 / signal, -noise / signal) if signal > SMALL else (0.0, 1.0)
    if kind == "v_prediction":  # v is of the sample scaled to unit variance
        return signal / size**2, -noise / size
    if kind == "flow_prediction":
        return 1.0, -noise
    return 0.0, 1.0


def _kind(scheduler: Any) -> str:
    if hasattr(scheduler, "precondition_outputs"):
        return "preconditioned"
    if type(scheduler).__name__.startswith(("FlowMatch", "LTXEuler")):
        return "flow_prediction"
    return str(scheduler.config.get("prediction_type", "unknown"))


def _rates(scheduler: Any, script: SchedulerReplay, index: int, scale: float) -> tuple[float, float]:
    """How much signal and noise the sample of a step holds; (0, 0) where the scheduler does not tell."""
    place, sigmas = script.position(index), getattr(scheduler, "sigmas", None)
    if place is None or sigmas is None or not 0 <= place < len(sigmas):
        return _by_timestep(scheduler, script.timesteps[index])
    sigma = float(sigmas[place])
    if _kind(scheduler) == "flow_prediction":
        return 1 - sigma, sigma
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t") and scale == 1:
        signal, noise = scheduler._sigma_to_alpha_sigma_t(sigmas[place])
        return float(signal), float(noise)
    return (1.0, sigma) if scale != 1 or hasattr(scheduler, "precondition_outputs") else (0.0, 0.0)


def _by_timestep(scheduler: Any, timestep: Any) -> tuple[float, float]:
    table = getattr(scheduler, "alphas_cumprod", None)
    place = int(timestep) if table is not None else -1
    if table is None or not 0 <= place < len(table):
        return 0.0, 0.0
    kept = float(table[place])
    return sqrt(kept), sqrt(max(1 - kept, 0.0))


def _preconditioning(scheduler: Any, sigma: float) -> tuple[float, float]:
    """Karras et al. 2022, equation 7, with the scheduler's own `sigma_data`."""
    data = float(scheduler.config.sigma_data)
    total = sqrt(sigma**2 + data**2)
    out = sigma * data / total
    return data**2 / total**2, out if scheduler.config.prediction_type == "epsilon" else -out
