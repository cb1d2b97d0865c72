"""mirror_iteration: an operator averaged in the mirror of a potential, with shares that vanish and with noise.

    grad phi(s_{t+1}) = (1 - a_t) grad phi(s_t) + a_t grad phi(T(s_t)) + noise_t

With the quadratic potential this is `s_{t+1} = (1 - a_t) s_t + a_t T(s_t) + noise_t` ("Iterate to accelerate", arXiv
2502.03787), where `T` is contractive in the Bregman divergence and `a_t = 2 / (t + 2)` by default; we could not read
which shares the paper takes, and these are the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack, final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.map import Map
from forerun.engine.methods import Sequential
from forerun.engine.numerics.noise import StepNoise
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.process import Affine, Process
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.limits.bregman.potentials import Potential

Operator = Callable[[Tensor], Tensor]
ShareSchedule = Callable[[int], float]

PATH_DEFAULTS = SolveOptions(method=Sequential())


def vanishing_share(step: int) -> float:
    """Return `2 / (t + 2)`."""
    return 2 / (step + 2)


@final
class MirrorPath(Process):
    """The averaged iteration as a process of so many steps; its states are mirror images.

    Args:
        operator: `T`, from a point to one like it.
        potential: whose mirror averages are taken in.
        length: number of steps.
        shares: `a_t` of a step.
        noise: what a step adds to the mirror image; None for nothing.
    """

    def __init__(
        self,
        operator: Operator,
        potential: Potential,
        length: int,
        *,
        shares: ShareSchedule = vanishing_share,
        noise: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.operator = operator
        self.potential = potential
        self.length = length
        self.shares = shares
        self.noise = noise

    def evaluate(
        self,
        steps: Tensor,
        inputs: Tree,
    ) -> Tree:
        points = self.potential.unmirror(inputs)
        return self.potential.mirror(torch.stack([self.operator(point) for point in points]))

    def advance(
        self,
        step: int,
        state: Tree,
        output: Tree,
    ) -> Tree:
        share = self.shares(step)
        averaged = (1 - share) * state + share * output
        return averaged if self.noise is None else averaged + self.noise(step)

    def affine(self, steps: Tensor) -> Affine:
        shares = torch.tensor([self.shares(step) for step in steps.tolist()], dtype=torch.float64)
        shift = None
        if self.noise is not None:
            shift = torch.stack([self.noise(step) for step in steps.tolist()])
        return Affine(1 - shares, shares, shift)


@dataclass(frozen=True, repr=False)
class MirrorSolution(Solution):
    """What `mirror_iteration` returns: a `Solution` whose value is the last point.

    Attributes:
        points: `s_0 .. s_length`, `(length + 1, *shape)`.
    """

    points: Tensor = None  # type: ignore[assignment]

    @property
    def value(self) -> Any:
        """The last point."""
        return self.points[-1]


def mirror_iteration(
    operator: Operator,
    x0: Tensor,
    potential: Potential,
    *,
    steps: int,
    shares: ShareSchedule = vanishing_share,
    noise: float = 0.0,
    seed: int = 0,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> MirrorSolution:
    """Average an operator for some steps, in the mirror of a potential.

    On a contraction by `g` in the mirror, `T(s) - s* = g (s - s*)`, the errors are products: with the shares by default
    they fall like `t^{-2 (1 - g)}`, and divergences like `t^{-4 (1 - g)}`. That is `1 / t^2` for `g = 1/2`, slower for
    larger ones; the plain iteration falls like `g^t` there. To get to the limit soon, take `mirror_limit`.

    Args:
        operator: `T`, from a point to one like it, where the potential is defined.
        x0: the first point `(..., D)`.
        potential: `QuadraticPotential()`, `Entropy()`, or a `CustomPotential`.
        steps: how many.
        shares: `a_t` of step `t`, from 0.
        noise: standard deviation of what every step adds to the mirror image.
        seed: of the noise.
        options: how the path is solved; `SolveOptions`. In order by default; `method=Secant(), window=32` runs ahead.
        keywords: the options one by one.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: the first point is none, or there are no steps.
    """
    refuse_first_point(x0, potential)
    if steps < 1:
        raise ValueError(f"steps={steps} leaves the first point as it is; pass 1 or more")
    first = potential.mirror(x0)
    source = StepNoise(seed, first)
    process = MirrorPath(
        operator,
        potential,
        steps,
        shares=shares,
        noise=None if not noise else lambda step: noise * source(step),
    )
    settings = SolveOptions.gather(options, keywords).over(PATH_DEFAULTS)
    solution = solve(process, first, options=settings, path=True)
    assert solution.states is not None
    return MirrorSolution(**vars(solution), points=potential.unmirror(torch.stack(list(solution.states))))


@final
@dataclass(frozen=True)
class MirrorMap(Map):
    """An operator as a map of mirror images, so that every method of `fixed_point` averages or mixes there."""

    operator: Operator
    potential: Potential

    def evaluate(self, state: Tree) -> Tree:
        return self.potential.mirror(self.operator(self.potential.unmirror(state)))


@dataclass(frozen=True, repr=False)
class MirrorLimit(Limit):
    """What `mirror_limit` returns: a `Limit` whose state is the mirror image, and whose value the point itself.

    Attributes:
        point: the fixed point of the operator.
    """

    point: Tensor = None  # type: ignore[assignment]

    @property
    def value(self) -> Any:
        """The fixed point of the operator."""
        return self.point


def mirror_limit(
    operator: Operator,
    x0: Tensor,
    potential: Potential,
    *,
    options: LimitOptions | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> MirrorLimit:
    """Find the fixed point of an operator, with mixtures taken in the mirror of a potential.

    Mixtures of mirror images are where the potential is defined: with `Entropy()` every one lies on the simplex.

    Args:
        operator: `T`, from a point to one like it.
        x0: the first point `(..., D)`.
        potential: whose mirror it is.
        options: how the limit is searched; `LimitOptions`, with residuals of mirror images.
        throw: raise where no limit was reached, rather than return what there is.
        keywords: the options one by one.

    Raises:
        NoLimit: no limit was reached, and `throw`.
        TypeError: an argument is of the wrong kind.
        ValueError: the first point is none.
    """
    refuse_first_point(x0, potential)
    settings = LimitOptions.gather(options, keywords)
    limit = fixed_point(MirrorMap(operator, potential), potential.mirror(x0), options=settings, throw=throw)
    return MirrorLimit(**vars(limit), point=potential.unmirror(limit.state))


def refuse_first_point(x0: Tensor, potential: Potential) -> None:
    """Refuse a first point at which a potential has no gradient, or that its mirror does not give back.

    Raises:
        TypeError: one of them is of the wrong kind.
        ValueError: the point is outside of where the potential is defined.
    """
    if not isinstance(potential, Potential):
        raise TypeError(f"potential must be a Potential, got {potential!r}; write Entropy(), or QuadraticPotential()")
    if not isinstance(x0, Tensor) or not x0.is_floating_point():
        raise TypeError(f"x0 must be a tensor of floats, got {x0!r}; pass torch.tensor([0.5, 0.5])")
    image = potential.mirror(x0)
    if not bool(image.isfinite().all()):
        raise ValueError(
            f"{type(potential).__name__} has no finite gradient at x0; pass a point inside of where it is defined, "
            "such as torch.full((3,), 1 / 3) for Entropy()"
        )
    if not torch.allclose(potential.unmirror(image), x0, rtol=1e-4, atol=1e-6):
        raise ValueError(
            f"{type(potential).__name__} does not give x0 back from its mirror image: x0 is outside of where it is "
            "defined. For Entropy() pass numbers whose sum is 1, x0 / x0.sum()"
        )
