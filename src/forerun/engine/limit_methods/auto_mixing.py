"""AutoMixing: plain steps at first, and a mixture where the residuals say that it pays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.limit_methods.anderson_mixing import fit_coefficients, mix_points, push_differences
from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, Memory, NextPoint

PROMISED_SHARE = 0.9  # of the residual after a plain step, that a mixture must promise to come below
MAX_DOUBLINGS = 12  # of the plain steps that are taken after a mixture failed
MIXTURE_PATIENCE = 0.05  # of the plain steps that are left, for which a run of mixtures may stay behind them
MOST_PATIENCE = 10.0
MOST_VAIN_PAUSES = 2.0  # pauses in which plain steps came no nearer, each of which doubles the patience
SMALLEST_DAMPING = 0.05  # of the way to the value, of steps between mixtures where plain ones expand
SHORT_WAY = 2.0  # plain steps that are left, for which nothing is tried


@dataclass(frozen=True)
class AutoMixing(LimitMethod):
    """Anderson mixing that earns its place.

    It begins with plain steps. Their differences tell what a mixture would leave of the residual, if the map were
    linear; where that is clearly less than a plain step leaves, the next points are mixed. A run of mixtures that falls
    behind the plain rate is taken back to where it began; after that, or after one that the safeguard takes back, come
    plain steps, twice as many every time: what trying costs grows with the logarithm of the evaluations. Where such
    plain steps end no nearer than they began, as where they go round, mixtures are tried again at once and for longer.
    Where plain steps expand, the steps between mixtures are damped.

    Args:
        memory: differences that are kept.
        regularization: as for `AndersonMixing`.
    """

    memory: int = 10
    regularization: float = 1e-12

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"AutoMixing(memory={self.memory}) has nothing to mix; pass 1 or more, or Plain()")

    def advance(self, point: LimitPoint) -> NextPoint:
        history = push_differences(point, self.memory)
        gamma = fit_coefficients(history["dR"], point.residuals, self.regularization)
        mixed, is_mixture = mix_points(point, history, gamma, 1.0)
        left_over = point.residuals - (gamma.unsqueeze(-2) @ history["dR"]).squeeze(-2)
        promised = point.tools.measure(left_over, point.points) / point.sizes
        record = self._follow_record(point)
        is_tried = is_mixture & self._may_try(point, record, promised)
        begins = is_tried & (record["mixed"] == 0)
        goes_back = record.pop("goes_back")
        share = record["share"].unsqueeze(-1)
        steady = point.points + share * point.residuals
        plain = torch.where(goes_back.unsqueeze(-1), record["start_value"], steady)
        record["mixed"] = torch.where(is_tried, record["mixed"] + 1, 0.0)
        record["start_size"] = torch.where(begins, point.sizes, record["start_size"])
        record["start_value"] = torch.where(begins.unsqueeze(-1), steady, record["start_value"])
        points = torch.where(is_tried.unsqueeze(-1), mixed, plain)
        return NextPoint(points, {**history, **record}, is_tried, fallback=plain)

    def _follow_record(self, point: LimitPoint) -> dict[str, Tensor]:
        """Return how plain steps and mixtures have fared, the last one included, and where a run of mixtures failed."""
        memory = point.memory
        if not memory:
            return self._begin_record(point)
        was_plain = (memory["mixed"] == 0) & point.continues
        rate = torch.where(was_plain, point.sizes / memory["last_size"], memory["rate"])
        turned = torch.where(rate >= 1, 0.5 * memory["share"], (2 * memory["share"]).clamp_max(1.0))
        share = torch.where(was_plain, turned, memory["share"])
        falls_behind = self._falls_behind(point, memory)
        goes_back = falls_behind & ~(point.sizes <= memory["rate"] * memory["start_size"])
        is_vain = self._is_vain(point, memory)
        failures = torch.where(is_vain, 0.0, memory["failures"]) + falls_behind
        begins_again = torch.where(goes_back, memory["start_size"], point.sizes)
        pause = 2.0 ** (failures + point.rejections).clamp_max(MAX_DOUBLINGS)
        was_rejected = ~point.continues & (point.rejections > 0)
        return {
            "rate": rate,
            "share": torch.where(point.continues, share.clamp_min(SMALLEST_DAMPING), 1.0),
            "mixed": torch.where(falls_behind, 0.0, memory["mixed"]),
            "start_size": memory["start_size"],
            "start_value": memory["start_value"],
            "last_size": begins_again,
            "pause_size": torch.where(falls_behind | was_rejected, begins_again, memory["pause_size"]),
            "vain": memory["vain"] + is_vain,
            "waiting": torch.where(falls_behind | was_rejected, pause, (memory["waiting"] - 1).clamp_min(0)),
            "failures": failures,
            "goes_back": goes_back,
        }

    def _begin_record(self, point: LimitPoint) -> dict[str, Tensor]:
        """Return the record before anything was tried."""
        nothing = torch.zeros_like(point.sizes)
        return {
            "rate": nothing,
            "share": torch.ones_like(nothing),
            "mixed": nothing,
            "start_size": point.sizes,
            "start_value": point.values,
            "last_size": point.sizes,
            "pause_size": nothing,
            "vain": nothing,
            "waiting": nothing,
            "failures": nothing,
            "goes_back": torch.zeros_like(point.continues),
        }

    def _falls_behind(self, point: LimitPoint, memory: Memory) -> Tensor:
        """Return where a run of mixtures did worse than plain steps would have, for longer than it may."""
        plain_size = memory["start_size"] * memory["rate"].clamp_max(1.0) ** memory["mixed"]
        left = count_plain_steps(memory["rate"], memory["start_size"], point.threshold)
        patience = (2 + MIXTURE_PATIENCE * left).clamp_max(MOST_PATIENCE)
        patience = patience * 2.0 ** memory["vain"].clamp_max(MOST_VAIN_PAUSES)
        return (memory["mixed"] > 0) & (memory["mixed"] >= patience) & ~(point.sizes <= plain_size)

    def _is_vain(self, point: LimitPoint, memory: Memory) -> Tensor:
        """Return where a pause ends whose plain steps came no nearer, bool `(A,)`."""
        ends = memory["waiting"] == 1
        return ends & (memory["pause_size"] > 0) & (point.sizes > memory["pause_size"])

    def _may_try(self, point: LimitPoint, record: Memory, promised: Tensor) -> Tensor:
        """Return where a mixture is worth its try."""
        pays = promised < PROMISED_SHARE * record["rate"]
        is_long = count_plain_steps(record["rate"], point.sizes, point.threshold) > SHORT_WAY
        is_running = record["mixed"] > 0
        return (record["waiting"] == 0) & (is_running | (pays & is_long))


def count_plain_steps(rate: Tensor, sizes: Tensor, threshold: float) -> Tensor:
    """Return how many plain steps are left at a rate, `(A,)`; a rate of 0 was not measured yet."""
    steps = torch.log(threshold / sizes) / torch.log(rate)
    return torch.where(rate >= 1, float("inf"), steps.nan_to_num(0.0).clamp_min(0))
