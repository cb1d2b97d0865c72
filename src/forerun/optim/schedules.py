"""Schedules by refinement: the gradient norms of a first run say how the rate of the next one should move.

The last iterate's bound (Defazio, Cutkosky, Mehta, Mishchenko, arXiv 2310.07831) is smallest for the rates

    eta_t  proportional to  w_t (w_{t+1} + ... + w_T),    w_t = |g_t|^-2, or |g_t|_1^-1 for Adam

which is linear decay where norms do not change, begins with a warm-up where they are large at first, and anneals
faster where they grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["NormRecorder", "RefinedSchedule", "refine"]

MEDIAN_ROWS = 1024  # windows of the median filter that are sorted at a time


class NormRecorder:
    """Records the norm of all gradients before every step of an optimiser, in any loop.

        with NormRecorder(optimizer) as recorder:
            train(model, optimizer)
        scheduler = RefinedSchedule(new_optimizer, recorder)

    Args:
        optimizer: of torch.
        adaptive: whether it scales gradients as Adam does: the sum of absolute values is recorded then, otherwise the
            Euclidean norm. Gradients are those that the step meets: clipped, if the loop clips.
    """

    def __init__(self, optimizer: Optimizer, *, adaptive: bool = False) -> None:
        self.adaptive = adaptive
        self._norms: list[Tensor] = []
        self._hook = optimizer.register_step_pre_hook(self._record_norm)

    @property
    def norms(self) -> Tensor:
        """The norms so far, float64 `(steps,)`."""
        if not self._norms:
            return torch.zeros(0, dtype=torch.float64)
        return torch.stack(self._norms).cpu()

    def stop(self) -> None:
        """Record no further steps."""
        self._hook.remove()

    def __enter__(self) -> NormRecorder:
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _record_norm(self, optimizer: Optimizer, *call: Any) -> None:
        order = 1.0 if self.adaptive else 2.0
        norms = [torch.linalg.vector_norm(gradient.detach().double(), order) for gradient in _gradients_of(optimizer)]
        if not norms:
            raise ValueError("a step was taken without a gradient: call loss.backward() before optimizer.step()")
        self._norms.append(torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]), order))


def refine(
    gradient_norms: Tensor | Sequence[float] | NormRecorder,
    *,
    adaptive: bool = False,
    smoothing: float = 0.1,
    steps: int | None = None,
) -> Tensor:
    """Return the schedule that the norms of a run ask for.

    Norms are smoothed by a median filter, reflected at both ends; those that are not finite are left out.

    Args:
        gradient_norms: of the steps of a run, `(steps,)`, or their recorder.
        adaptive: whether they are sums of absolute values, of an optimiser like Adam; a recorder knows.
        smoothing: width of the filter as a share of the run, from 0 (none) to 1.
        steps: of the run to come; None for as many as there are norms.

    Returns:
        Shares of the largest rate, float64 `(steps,)`; the last is zero.

    Raises:
        ValueError: fewer than two norms, negative ones, none above zero, or settings out of range.
    """
    if isinstance(gradient_norms, NormRecorder):
        adaptive = gradient_norms.adaptive
        gradient_norms = gradient_norms.norms
    norms = torch.as_tensor(gradient_norms, dtype=torch.float64).detach()
    norms = _require_norms(norms, smoothing, steps)
    norms = _smooth_norms(norms, smoothing)
    norms = norms.clamp_min(float(norms[norms > 0].min()))
    weights = (norms / norms.min()).pow(-1 if adaptive else -2)
    later = weights.flip(0).cumsum(0).flip(0) - weights
    rates = weights * later
    rates[-1] = 0  # what rounding leaves of the difference
    return _resample(rates / rates.max(), len(rates) if steps is None else steps)


class RefinedSchedule(LRScheduler):
    """The rates of a refined schedule, for any optimiser: shares of the rate that each group begins with.

    Args:
        optimizer: of the run to come.
        gradient_norms: of an earlier run, or their recorder; as of `refine`, and the settings too.
        last_epoch: the step to go on after, as of every scheduler of torch.

    Attributes:
        shares: of the rate, one for each step.

    Raises:
        ValueError: as `refine`; and, by `step()`, when a run goes on for longer than the schedule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        gradient_norms: Tensor | Sequence[float] | NormRecorder,
        *,
        adaptive: bool = False,
        smoothing: float = 0.1,
        steps: int | None = None,
        last_epoch: int = -1,
    ) -> None:
        self.shares = refine(gradient_norms, adaptive=adaptive, smoothing=smoothing, steps=steps)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of every group at the present step; zero after the last one."""
        length = len(self.shares)
        if self.last_epoch > length:
            raise ValueError(
                f"the schedule has {length} steps and was asked for step {self.last_epoch}: "
                f"RefinedSchedule(..., steps={2 * length}) stretches it"
            )
        share = float(self.shares[self.last_epoch]) if self.last_epoch < length else 0.0
        return [rate * share for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return all but the shares, which come from the norms again: make the scheduler as before, then load."""
        state = super().state_dict()
        del state["shares"]
        return state


def _gradients_of(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            if tensor.grad is not None:
                yield tensor.grad


def _require_norms(norms: Tensor, smoothing: float, steps: int | None) -> Tensor:
    """Return the finite norms, or refuse what no schedule can be made of."""
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is a share of the run, from 0 to 1, got {smoothing}")
    if steps is not None and steps < 2:
        raise ValueError(f"a schedule has at least two steps, got steps={steps}")
    if norms.dim() != 1:
        raise ValueError(f"norms must be one number for each step, got shape {tuple(norms.shape)}: norms.mean(0)")
    norms = norms[torch.isfinite(norms)]
    if len(norms) < 2:
        raise ValueError(f"a schedule needs the norms of at least two steps, got {len(norms)} finite ones")
    if bool((norms < 0).any()) or not bool((norms > 0).any()):
        raise ValueError("norms must not be negative, and not all zero: record them by NormRecorder(optimizer)")
    return norms


def _smooth_norms(norms: Tensor, smoothing: float) -> Tensor:
    """Return running medians; both ends are reflected, so that an outlier there stays one."""
    half = int(smoothing * len(norms) / 2)
    half = min(half, len(norms) - 1)
    if not half:
        return norms
    before = norms[1 : half + 1].flip(0)
    after = norms[-half - 1 : -1].flip(0)
    windows = torch.cat([before, norms, after]).unfold(0, 2 * half + 1, 1)
    return torch.cat([rows.median(-1).values for rows in windows.split(MEDIAN_ROWS)])


def _resample(shares: Tensor, steps: int) -> Tensor:
    """Return a schedule over another number of steps, by linear interpolation."""
    if steps == len(shares):
        return shares
    places = torch.linspace(0, len(shares) - 1, steps, dtype=torch.float64)
    lower = places.floor().long().clamp_max(len(shares) - 2)
    return torch.lerp(shares[lower], shares[lower + 1], places - lower)
