"""Groups that move a template: cyclic shifts, rotations of point sets, permutations; how a signal is brought onto one.

Every group acts by isometries, so bringing a signal onto a template is the largest inner product over the group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log, pi, prod, sqrt
from typing import final

import torch
from torch import Tensor


class SignalGroup(ABC):
    """A group of isometries that acts on signals."""

    @abstractmethod
    def align_signals(self, signals: Tensor, template: Tensor) -> Tensor:
        """Return every signal `(N, *shape)`, moved as near to the template `(*shape)` as the group can."""

    @abstractmethod
    def average_positions(self, signals: Tensor, template: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return every signal averaged over its positions, as likely as they are, and the evidence of each, `(N,)`.

        The evidence is the log of the mean over the group of `exp(<g Y, template> / noise^2)`.

        Args:
            signals: `(N, *shape)`, each a moved template with normal noise in every element.
            template: `(*shape)`.
            noise: its standard deviation, a number.

        Raises:
            ValueError: the group has no closed form for it.
        """

    @abstractmethod
    def bound_noise_gain(self, shape: torch.Size) -> float:
        """Return a bound of `E max_g <v, g e>`, for unit templates `v` and unit normal noise `e`.

        It is what noise alone is taken for a signal, once it may be moved: the source of the bias.
        """

    @abstractmethod
    def refuse_signals(self, signals: Tensor) -> None:
        """Refuse signals that the group does not act on.

        Raises:
            ValueError: they have not enough axes.
        """


@final
@dataclass(frozen=True)
class CyclicShifts(SignalGroup):
    """Shifts around the last axes: one for time series, two for images.

    Args:
        axes: last axes that are shifted.
    """

    axes: int = 1

    def __post_init__(self) -> None:
        if self.axes < 1:
            raise ValueError(f"CyclicShifts(axes={self.axes}) shifts nothing; pass 1 for series, 2 for images")

    def align_signals(self, signals: Tensor, template: Tensor) -> Tensor:
        flat = self.correlate(signals, template).flatten(1)
        weights = torch.zeros_like(flat).scatter_(1, flat.argmax(1, keepdim=True), 1.0)
        return self._mix_shifts(signals, weights)

    def average_positions(self, signals: Tensor, template: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        exponents = self.correlate(signals, template).flatten(1) / noise**2
        evidence = exponents.logsumexp(1) - log(exponents.shape[1])
        return self._mix_shifts(signals, exponents.softmax(1)), evidence

    def bound_noise_gain(self, shape: torch.Size) -> float:
        """The expected largest of `n` normal numbers is at most `sqrt(2 log n)`."""
        return sqrt(2 * log(prod(shape[-self.axes :])))

    def refuse_signals(self, signals: Tensor) -> None:
        if signals.dim() != 1 + self.axes:
            raise ValueError(
                f"{self} moves signals of shape (N, {'n, ' * self.axes}), got {list(signals.shape)}; pass "
                f"CyclicShifts({max(signals.dim() - 1, 1)}), or signals[None] for a single one"
            )

    def correlate(self, signals: Tensor, others: Tensor) -> Tensor:
        """Return the inner products of every shift of a signal with another, or with one of its own, `(N, *shape)`."""
        spectrum = torch.fft.rfftn(signals, dim=self._dims)
        conjugate = torch.fft.rfftn(others, dim=self._dims).conj()
        products: Tensor = torch.fft.irfftn(spectrum * conjugate, signals.shape[1:], dim=self._dims)
        return products

    def _mix_shifts(self, signals: Tensor, weights: Tensor) -> Tensor:
        """Return the shifts of every signal with weights `(N, shifts)`, added up."""
        return self.correlate(signals, weights.reshape(signals.shape))

    @property
    def _dims(self) -> tuple[int, ...]:
        return tuple(range(-self.axes, 0))


@final
@dataclass(frozen=True)
class Rotations(SignalGroup):
    """Rotations of point sets `(N, points, d)` about the origin, without reflections (Kabsch, 1976)."""

    def align_signals(self, signals: Tensor, template: Tensor) -> Tensor:
        left, _, right = torch.linalg.svd(signals.mT @ template)
        sign = torch.linalg.det(left @ right).sign()
        flip = torch.ones_like(left[..., 0, :])
        flip[..., -1] = sign
        rotation: Tensor = (left * flip.unsqueeze(-2)) @ right
        return signals @ rotation

    def average_positions(self, signals: Tensor, template: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expectation over angles, which have a von Mises distribution in the plane, and the evidence."""
        if signals.shape[-1] != 2:
            raise ValueError(
                f"Rotations() of {signals.shape[-1]} dimensions have no closed average; pass points of the plane, or "
                "take estimate(...), which is biased by at most limit.bias_bound"
            )
        points = torch.view_as_complex(signals.contiguous())
        target = torch.view_as_complex(template.contiguous())
        overlap = (points.conj() * target).sum(-1, keepdim=True)
        concentration = overlap.abs() / noise**2
        scaled_mean = torch.special.i0e(concentration)
        shrinkage = torch.special.i1e(concentration) / scaled_mean
        rotation = torch.where(overlap.abs() > 0, overlap / overlap.abs(), torch.ones_like(overlap))
        evidence = (scaled_mean.log() + concentration).squeeze(-1)
        return torch.view_as_real(points * rotation * shrinkage), evidence

    def bound_noise_gain(self, shape: torch.Size) -> float:
        """The mean modulus of a complex normal number in the plane; beyond, a bound of that of a nuclear norm."""
        dimension = shape[-1]
        if dimension == 2:
            return sqrt(pi / 2)
        return float(dimension)

    def refuse_signals(self, signals: Tensor) -> None:
        if signals.dim() != 3 or signals.shape[-1] < 2:
            raise ValueError(
                f"Rotations() move point sets of shape (N, points, d), got {list(signals.shape)}; for images on a grid "
                "pass their landmarks"
            )


@final
@dataclass(frozen=True)
class Permutations(SignalGroup):
    """All orders of the elements of a vector `(N, n)`: only the values are known, not what they belong to."""

    def align_signals(self, signals: Tensor, template: Tensor) -> Tensor:
        places = template.argsort(stable=True)
        aligned = torch.empty_like(signals)
        aligned[:, places] = signals.sort(dim=-1).values
        return aligned

    def average_positions(self, signals: Tensor, template: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        raise ValueError(
            "Permutations() have no closed average; take estimate(...), which is biased by at most limit.bias_bound"
        )

    def bound_noise_gain(self, shape: torch.Size) -> float:
        """The sorted noise is at most as long as the noise, `sqrt(n)`."""
        return sqrt(shape[-1])

    def refuse_signals(self, signals: Tensor) -> None:
        if signals.dim() != 2:
            raise ValueError(f"Permutations() move vectors of shape (N, n), got {list(signals.shape)}; flatten them")
