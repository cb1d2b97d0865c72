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
FAR_AWAY: Final = 1e3  # likewise, from where on a residual that is small beside the state may be one of running away
UNSURE_SHARE: Final = 0.1  # of the state, that its estimated error may be there
LASTING_SHARE: Final = 0.01  # of the first residual, that one of running away still has

Watch = Mapping[str, Tensor]  # every tensor begins with the axis of the problems


def begin_watch(points: Tensor) -> Watch:
    """Return what is watched of problems `(A, D)` before anything was evaluated."""
    nothing = points.new_full((len(points),), float("nan"))
    return {
        "best_size": torch.full_like(nothing, float("inf")),
        "progress_length": torch.full_like(nothing, float("inf")),
        "best_point": points,
        "best_value": points,
        "since_progress": torch.zeros_like(nothing),
        # the last one and the one before it, (A, 2, D)
        "recent_points": torch.full_like(points, float("nan")).unsqueeze(1).repeat(1, 2, 1),
        "recent_values": torch.full_like(points, float("nan")).unsqueeze(1).repeat(1, 2, 1),
        "sizes": points.new_full((len(points), RATE_SPAN + 1), float("nan")),
        "gains": points.new_full((len(points), RATE_SPAN), float("nan")),
        "ratios": nothing,
        "iterations": torch.zeros_like(nothing),
    }


def follow_point(
    watch: Watch,
    points: Tensor,
    values: Tensor,
    *,
    sizes: Tensor,
    tools: MapTools,
) -> Watch:
    """Return the watch after one more point that is kept."""
    gain, ratio = measure_moves(watch, points, values, tools)
    is_better = sizes < watch["best_size"]
    length = rms(values - points)  # a relative size may stay the same while states and residuals fall together
    is_progress = length < PROGRESS_SHARE * watch["progress_length"]
    return {
        "best_size": torch.fmin(sizes, watch["best_size"]),
        "progress_length": torch.where(is_progress, length, watch["progress_length"]),
        "best_point": choose_rows(is_better, points, watch["best_point"]),
        "best_value": choose_rows(is_better, values, watch["best_value"]),
        "first_scale": watch["first_scale"] if "first_scale" in watch else rms(points) + length,
        "first_length": watch.get("first_length", length),
        "since_progress": (watch["since_progress"] + 1).masked_fill(is_progress, 0.0),
        "recent_points": push_recent(watch["recent_points"], points),
        "recent_values": push_recent(watch["recent_values"], values),
        "sizes": push_newest(watch["sizes"], sizes),
        "gains": push_newest(watch["gains"], gain),
        "ratios": ratio,
        "iterations": watch["iterations"] + 1,
    }


def measure_moves(
    watch: Watch,
    points: Tensor,
    values: Tensor,
    tools: MapTools,
) -> tuple[Tensor, Tensor]:
    """Return the gain `(A,)` and the ratio `(A,)` of the last moves.

    The gain is the larger one of the last move and of the last two together: in two, what alternates cancels. The ratio
    is that of the last moves of value and point.
    """
    moves = points.unsqueeze(1) - watch["recent_points"]
    value_moves = values.unsqueeze(1) - watch["recent_values"]
    inputs = points.unsqueeze(1).expand_as(moves)
    lengths = tools.measure(moves, inputs)
    # the residual's change is the value's move less the point's
    gains = lengths / tools.measure(value_moves - moves, inputs)
    ratio = tools.measure(value_moves[:, 0], points) / lengths[:, 0]
    return torch.fmax(gains[:, 0], gains[:, 1]), ratio


def choose_rows(is_new: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the new rows `(A, D)` where bool `(A,)`, and the old ones elsewhere; no copy where all are alike."""
    if bool(is_new.all()):
        return new
    return torch.where(is_new.unsqueeze(-1), new, old) if bool(is_new.any()) else old


def push_recent(recent: Tensor, rows: Tensor) -> Tensor:
    """Return the last rows and those before, `(A, 2, D)`, after some more `(A, D)`."""
    return torch.stack([rows, recent[:, 0]], 1)


def push_newest(history: Tensor, newest: Tensor) -> Tensor:
    """Return a history `(A, n)` with one more entry at its end, without the oldest."""
    return torch.cat([history[:, 1:], newest.unsqueeze(-1)], -1)


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


def find_stalled(
    watch: Watch,
    points: Tensor,
    residuals: Tensor,
    epsilon: float,
) -> Tensor:
    """Return where the residual no longer falls, bool `(A,)`."""
    waited = watch["since_progress"]
    is_waiting = waited > ROUNDING_PATIENCE
    if not bool(is_waiting.any()):
        return is_waiting
    floor = ROUNDING_RESIDUAL * epsilon * largest_element(points)
    is_rounding = largest_element(residuals) <= floor
    return (waited > STALL_PATIENCE) | (is_rounding & is_waiting)


def find_diverged(watch: Watch, points: Tensor) -> Tensor:
    """Return where the points are far beyond the first one and its move, bool `(A,)`."""
    return rms(points) > DIVERGENCE * watch["first_scale"]


def find_running_away(watch: Watch, points: Tensor, residuals: Tensor) -> Tensor:
    """Return where a residual is small beside a state that has gone far, and tells nothing of a limit, bool `(A,)`.

    A map like `x + 1` has residuals of any relative size, far enough away.
    """
    scale = rms(points)
    length = rms(residuals)
    # moves that changed no residual have an infinite gain
    gain = watch["gains"].nan_to_num(0.0, posinf=float("inf")).amax(-1)
    is_unsure = (length * gain > UNSURE_SHARE * scale) & (length > LASTING_SHARE * watch["first_length"])
    return is_unsure & (scale > FAR_AWAY * watch["first_scale"])
