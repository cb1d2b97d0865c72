"""Estimates of a template that was moved by a group and blurred by noise: by registration, and by likelihood.

Registration brings every signal onto the template and averages: the Frechet mean of the quotient space, by max-max
(Devilliers, Allassonniere, Trouve and Pennec, SIAM J. Imaging Sci. 10, 2017). Where the noise is large it is biased:
the signals are brought onto its noise. The likelihood averages over all positions instead, and is consistent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, Unpack, final

from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.templates.groups import SignalGroup

REGISTRATION_DEFAULTS = LimitOptions(method=Plain())
MIN_NOISE_SHARE = 1e-6  # of the root mean square of the signals, below which the noise is not let fall


@final
@dataclass(frozen=True)
class RegistrationMap(Map):
    """A template to the mean of the signals that were brought onto it.

    It is piecewise constant: it ends after finitely many steps, and mixing its values helps little. Its merit, the mean
    squared distance of the signals from the template, falls in every step.
    """

    signals: Tensor
    group: SignalGroup

    def evaluate(self, state: Tree) -> Tree:
        return self.group.align_signals(self.signals, state).mean(0)

    def merit(self, state: Tree) -> Tensor:
        moves: Tensor = self.group.align_signals(self.signals, state) - state
        return moves.square().mean()


@final
@dataclass(frozen=True)
class LikelihoodMap(Map):
    """A template and its noise to those that the positions they make likely would give: a step of EM."""

    signals: Tensor
    group: SignalGroup

    def evaluate(self, state: Tree) -> Tree:
        template, noise = state["template"], state["noise"]
        positions, _ = self.group.average_positions(self.signals, template, noise)
        averaged = positions.mean(0)
        # E |Y - g m|^2 at the new template m = E g^-1 Y: the cross term is |m|^2
        variance = (self.signals.square().mean() - averaged.square().mean()).clamp_min(self.least_noise**2)
        return {"template": averaged, "noise": variance.sqrt().reshape(1)}

    def merit(self, state: Tree) -> Tensor:
        """Return the negative log likelihood of an element, up to a constant; EM never lets it rise."""
        template, noise = state["template"], state["noise"].squeeze()
        _, evidence = self.group.average_positions(self.signals, template, noise)
        squares = (self.signals.square().mean() + template.square().mean()) / (2 * noise**2)
        merit: Tensor = squares + noise.log() - evidence.mean() / template.numel()
        return merit

    def project(self, state: Tree) -> Tree:
        return {"template": state["template"], "noise": state["noise"].clamp_min(self.least_noise)}

    @property
    def least_noise(self) -> Tensor:
        """The noise below which it is not let fall."""
        return MIN_NOISE_SHARE * self.signals.square().mean().sqrt()


@dataclass(frozen=True)
class TemplateLimit(Limit):
    """A `Limit` whose value is the template.

    Attributes:
        template: `(*shape)`, up to a move of the group, which no signals can tell.
        noise: standard deviation of an element; given, or estimated.
        bias_bound: of the distance from the nearest position of the true template, root of the sum of squares, were
            there endlessly many signals of this noise; 0 for the likelihood, which is consistent.
    """

    template: Tensor = None  # type: ignore[assignment]
    noise: float = 0.0
    bias_bound: float = 0.0

    @property
    def value(self) -> Any:
        """The template."""
        return self.template


def estimate(
    signals: Tensor,
    group: SignalGroup,
    *,
    first: Tensor | None = None,
    noise: float | None = None,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> TemplateLimit:
    """Estimate a template by registration: bring all signals onto it, average, repeat.

    The bound of the bias follows from `|m*| = max_v E max_g <v, g Y>` for the mean `m*` of the quotient space. With
    `Y = g t + noise e` and `k` the noise gain of the group, `max_g <m*, g t> >= |m*| (|m*| - noise k)` and
    `|t| <= |m*|`, so the distance of `m*` from the nearest `g t` is at most `sqrt(2 noise k |m*|)`. It is ours.

    Args:
        signals: `(N, *shape)`.
        group: what moves them: `CyclicShifts()`, `Rotations()`, `Permutations()`, or one of your own.
        first: the first template `(*shape)`; the first signal where it is left out.
        noise: standard deviation of the noise in an element, for the bound; by default what is left over, which is too
            small where the bias is large.
        options: how the limit is searched; `LimitOptions`. The method is `Plain()`: mixing hurts
            here, also with `safeguard=Monotone()`, which takes its worst steps back.
        throw: raise where the iteration did not settle, rather than return what there is.
        keywords: the options one by one.

    Raises:
        ValueError: the signals do not suit the group, are empty or not finite.
        NoLimit: the registration did not settle in the evaluations allowed, and `throw`.
    """
    refuse_template_data(signals, group, first)
    settings = LimitOptions.gather(options, keywords).over(REGISTRATION_DEFAULTS)
    map = RegistrationMap(signals, group)
    limit = fixed_point(map, signals[0] if first is None else first, options=settings, throw=throw)
    template = limit.state
    spread = sqrt(float(map.merit(template))) if noise is None else noise
    bound = sqrt(2 * spread * group.bound_noise_gain(template.shape) * float(template.norm()))
    return TemplateLimit(**vars(limit), template=template, noise=spread, bias_bound=bound)


def estimate_likely(
    signals: Tensor,
    group: SignalGroup,
    *,
    first: Tensor | None = None,
    noise: float | None = None,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> TemplateLimit:
    """Estimate a template and its noise by likelihood: consistent where registration is not.

    Each step averages over all positions, one of EM (Dempster, Laird and Rubin, 1977); mixing makes it many times
    faster where the noise is large.

    Args:
        signals: `(N, *shape)`, moved uniformly by the group, with normal noise.
        group: `CyclicShifts()`, or `Rotations()` of points of the plane.
        first: the first template; the first signal where it is left out. The likelihood has local maxima: the template
            of `estimate` is a good one.
        noise: a first guess of the standard deviation; half of the signals' by default.
        options: how the limit is searched; `LimitOptions`.
        throw: raise where the iteration did not settle, rather than return what there is.
        keywords: the options one by one.

    Raises:
        ValueError: the signals do not suit the group, or it has no closed average.
        NoLimit: the iteration did not settle in the evaluations allowed, and `throw`.
    """
    refuse_template_data(signals, group, first)
    settings = LimitOptions.gather(options, keywords)
    first_noise = signals.std() / 2 if noise is None else signals.new_tensor(noise)
    state = {"template": signals[0] if first is None else first, "noise": first_noise.reshape(1)}
    limit = fixed_point(LikelihoodMap(signals, group), state, options=settings, throw=throw)
    noise_found = float(limit.state["noise"])
    return TemplateLimit(**vars(limit), template=limit.state["template"], noise=noise_found)


def distance_to_template(template: Tensor, truth: Tensor, group: SignalGroup) -> float:
    """Return the distance of a template from the nearest position of another, root of the sum of squares."""
    return float((group.align_signals(truth[None], template)[0] - template).norm())


def refuse_template_data(signals: Tensor, group: SignalGroup, first: Tensor | None) -> None:
    """Refuse signals that no template can be estimated from.

    Raises:
        TypeError: the group is none.
        ValueError: there are no signals, they are not finite floats, or do not suit the group or the first template.
    """
    if not isinstance(group, SignalGroup):
        raise TypeError(f"group must be a SignalGroup, got {group!r}; write group=CyclicShifts()")
    if not signals.is_floating_point():
        raise ValueError(f"signals must be floats, got {signals.dtype}; pass signals.double()")
    if not signals.numel():
        raise ValueError(f"there are no signals in {list(signals.shape)}; pass at least one, (N, *shape)")
    if not signals.isfinite().all():
        count = int((~signals.isfinite().flatten(1).all(1)).sum())
        raise ValueError(f"{count} of {len(signals)} signals are not finite; leave them out")
    group.refuse_signals(signals)
    if first is not None and first.shape != signals.shape[1:]:
        raise ValueError(f"first has shape {list(first.shape)}, but a signal has {list(signals.shape[1:])}")
