"""ResidualMonitor: what the residuals of an iteration show: its rate, the gain of its errors, the best point so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from forerun.engine.limit_methods.base import MapTools
from forerun.engine.tolerance import largest_element, rms

RATE_SPAN: Final = 10  # evaluations over which the rate is measured
STALL_PATIENCE: Final = 1000  # evaluations without progress, after which it is given up
ROUNDING_PATIENCE: Final = 20  # likewise, where the residual has the size of rounding
PROGRESS_SHARE: Final = 0.999  # of the best residual, that a new one must be below to count as progress
ROUNDING_RESIDUAL: Final = 64.0  # roundings of the largest element that a residual may have to be taken for rounding
DIVERGENCE: Final = 1e8  # how many times the size of the first point and its move is taken for running away

Watch = Mapping[str, Tensor]  # every tensor begins with the axis of the problems


def begin_watch(points: Tensor) -> Watch:
    """Return what is watched of problems `(A, D)` before anything was evaluated."""
    nothing = points.new_full((len(points),), float("nan"))
    return {
        "best_size": torch.full_like(nothing, float("inf")),
        "progress_length": torch.full_like(nothing, float("inf")),
        "best_point": points,
        "best_value": points,
        "first_scale": nothing,
        "since_progress": torch.zeros_like(nothing),
        "last_points": torch.full_like(points, float("nan")),
        "last_values": torch.full_like(points, float("nan")),
        "older_points": torch.full_like(points, float("nan")),
        "older_values": torch.full_like(points, float("nan")),
        "sizes": points.new_full((len(points), RATE_SPAN + 1), float("nan")),
        "gains": points.new_full((len(points), RATE_SPAN), float("nan")),
        "ratios": nothing,
        "iterations": torch.zeros_like(nothing),
    }


def follow_point(watch: Watch, points: Tensor, values: Tensor, *, sizes: Tensor, tools: MapTools) -> Watch:
    """Return the watch after one more point that is kept."""
    gain = measure_last_gains(watch, points, values, tools)
    move = points - watch["last_points"]
    value_move = values - watch["last_values"]
    ratio = tools.measure(value_move, points) / tools.measure(move, points)
    is_better = sizes < watch["best_size"]
    length = rms(values - points)  # a relative size may stay the same while states and residuals fall together
    is_progress = length < PROGRESS_SHARE * watch["progress_length"]
    column = is_better.unsqueeze(-1)
    return {
        "best_size": torch.where(is_better, sizes, watch["best_size"]),
        "progress_length": torch.where(is_progress, length, watch["progress_length"]),
        "best_point": torch.where(column, points, watch["best_point"]),
        "best_value": torch.where(column, values, watch["best_value"]),
        "first_scale": torch.where(watch["first_scale"].isnan(), rms(points) + length, watch["first_scale"]),
        "since_progress": torch.where(is_progress, 0.0, watch["since_progress"] + 1),
        "last_points": points,
        "last_values": values,
        "older_points": watch["last_points"],
        "older_values": watch["last_values"],
        "sizes": torch.cat([watch["sizes"][:, 1:], sizes.unsqueeze(-1)], -1),
        "gains": torch.cat([watch["gains"][:, 1:], gain.unsqueeze(-1)], -1),
        "ratios": ratio,
        "iterations": watch["iterations"] + 1,
    }


def measure_last_gains(watch: Watch, points: Tensor, values: Tensor, tools: MapTools) -> Tensor:
    """Return the larger gain of the last move and of the last two together, `(A,)`: in two, what alternates cancels."""
    gains = []
    for name in ("last", "older"):
        move = points - watch[f"{name}_points"]
        # the residual's change is the value's move less the point's
        residual_change = values - watch[f"{name}_values"] - move
        gains.append(tools.measure(move, points) / tools.measure(residual_change, points))
    return torch.fmax(*gains)


def measure_gain(watch: Watch) -> Tensor:
    """Return the largest gain of the last moves `(A,)`; nan before there were two points."""
    gains = watch["gains"]
    largest = torch.where(gains.isfinite(), gains, 0.0).amax(-1)
    return torch.where(largest > 0, largest, float("nan"))


def measure_rate(watch: Watch) -> Tensor:
    """Return by what factor the residual fell from one point to the next, `(A,)`, over those that are remembered."""
    sizes = watch["sizes"]
    is_there = ~sizes.isnan()
    span = is_there.sum(-1) - 1
    first = sizes.gather(1, is_there.to(torch.int8).argmax(-1, keepdim=True)).squeeze(-1)
    ratio = sizes[:, -1] / first
    return torch.where(span > 0, ratio ** (1 / span.clamp_min(1)), float("nan"))


def find_stalled(watch: Watch, points: Tensor, residuals: Tensor, epsilon: float) -> Tensor:
    """Return where the residual no longer falls, bool `(A,)`."""
    floor = ROUNDING_RESIDUAL * epsilon * largest_element(points)
    is_rounding = largest_element(residuals) <= floor
    waited = watch["since_progress"]
    return (waited > STALL_PATIENCE) | (is_rounding & (waited > ROUNDING_PATIENCE))


def find_diverged(watch: Watch, points: Tensor) -> Tensor:
    """Return where the points are far beyond the first one and its move, bool `(A,)`."""
    return rms(points) > DIVERGENCE * watch["first_scale"]
