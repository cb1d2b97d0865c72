"""certify: a root of a polynomial system, singular or not, with a proof that it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.certificates.alpha_test import ALPHA_THRESHOLD
from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit
from forerun.engine.tolerance import Absolute, largest_element
from forerun.limits.certified_roots.alpha_balls import AlphaBalls, measure_alpha
from forerun.limits.certified_roots.dual_space import DualSpace, find_dual_space
from forerun.limits.certified_roots.extended_system import ExtendedSystem, extend_system
from forerun.limits.certified_roots.local_algebra import choose_algebra
from forerun.limits.certified_roots.polynomials import Exponents, PolynomialSystem

APPROACH_STEPS = 60  # of the least-squares iteration from the guess, which a singular root lets converge linearly
NEWTON_BUDGET = 30
NEWTON_ROUNDINGS = 64.0  # of the largest unknown, to which Newton's steps shrink
MIN_PIVOT = 1e-10  # singular values below this share are left out of a least-squares step


@dataclass(frozen=True)
class CertifiedRoot:
    """A root and what is proven of it.

    The proof says that the equations with `deformation` added have an exact root within `radius`, at which they vanish
    on an algebra of dimension `multiplicity`: its multiplicity is that or larger.

    Attributes:
        point: complex128 `(n,)`.
        radius: of the ball, in the largest element, that holds the root and every other unknown.
        multiplicity: dimension of the local algebra.
        hilbert_function: dimensions by order.
        deformation: `{(equation, exponents): number}`, what is added to equations, in monomials of the distance from
            the root; at most `radius` from what it stands for.
        dual_space: the structure at the root, numerically.
        alpha: Smale's alpha of the extended system, and beta and gamma.
        steps: sizes of Newton's steps on the extended system.
        limit: how Newton's iteration ended.
    """

    point: Tensor
    radius: float
    multiplicity: int
    hilbert_function: tuple[int, ...]
    deformation: dict[tuple[int, Exponents], complex]
    dual_space: DualSpace
    alpha: AlphaBalls
    steps: tuple[float, ...]
    limit: Limit

    @property
    def value(self) -> Tensor:
        """The root."""
        return self.point

    @property
    def deformation_bound(self) -> float:
        """A bound of the largest coefficient of the deformation."""
        return max((abs(number) for number in self.deformation.values()), default=0.0) + self.radius


class NotCertified(ValueError):
    """Raised where the alpha test does not hold; `.root` is what there is, not proven, with its alpha."""

    def __init__(self, root: CertifiedRoot) -> None:
        super().__init__(
            f"the root near {root.point.tolist()} is not certified as one of multiplicity {root.multiplicity}: alpha "
            f"is {root.alpha.alpha:.4g} and must be below {ALPHA_THRESHOLD:.4g}; pass a closer guess, or another "
            "multiplicity=..."
        )
        self.root = root


@final
@dataclass(frozen=True)
class NewtonStep(Map):
    """A Newton step of a square system, complex numbers as pairs `(m, 2)`."""

    system: PolynomialSystem

    def evaluate(self, state: Tree) -> Tree:
        point = torch.view_as_complex(state.contiguous())
        values, jacobian = self.system.evaluate_values(point), self.system.evaluate_jacobian(point)
        step = torch.linalg.solve_ex(jacobian, values).result  # not finite where the derivative is singular
        return torch.view_as_real(point - step)


@final
@dataclass(frozen=True)
class LeastSquaresStep(Map):
    """A Gauss-Newton step of equations that may be more than the unknowns, and singular at the root."""

    system: PolynomialSystem

    def evaluate(self, state: Tree) -> Tree:
        point = torch.view_as_complex(state.contiguous())
        values, jacobian = self.system.evaluate_values(point), self.system.evaluate_jacobian(point)
        return torch.view_as_real(point - torch.linalg.pinv(jacobian, rtol=MIN_PIVOT) @ values)


def certify(
    system: Sequence[Any] | Callable[..., Any],
    guess: Sequence[complex] | Tensor,
    multiplicity: int | None = None,
) -> CertifiedRoot:
    """Find a root near a guess and prove that it is there; a singular one with its multiplicity.

    A singular root is lost by any change of the equations, so that what can be proven is one of a system nearby: the
    deformation is found with the root, and bounded.

    Args:
        system: expressions of sympy, their symbols in the order of names, or a function of `n` numbers that returns `N`
            polynomials: `lambda x, y: [x**2 + y**2 - 2, x * y - 1]`. As many as unknowns, or more; coefficients are
            rational, decimals as they are written.
        guess: `n` numbers near the root.
        multiplicity: of the root; None to find it from the singular values of Macaulay's matrices.

    Raises:
        NotCertified: the alpha test does not hold; it has the root that was found, and its alpha.
        NoIsolatedRoot: the dual space goes on growing, or ends before the multiplicity.
        UnknownAlgebra: its shape has no parametrisation here.
        ValueError: the system is not polynomial, or does not suit the guess.
        ImportError: sympy or python-flint is not installed.
    """
    start = torch.as_tensor(guess, dtype=torch.complex128)
    if start.dim() != 1 or not bool(start.isfinite().all()):
        raise ValueError(f"guess must be a list of finite numbers, one for each variable, got {guess!r}")
    polynomials = PolynomialSystem.from_user(system, len(start))
    point = approach_root(polynomials, start)
    dual = find_dual_space(polynomials, point, multiplicity)
    extended = extend_system(polynomials, point, choose_algebra(dual))
    root = follow_newton(extended, dual)
    if not root.alpha.holds:
        raise NotCertified(root)
    return root


def approach_root(system: PolynomialSystem, start: Tensor) -> Tensor:
    """Return a point close to a root: Gauss-Newton, until its residual no longer falls."""
    limit = fixed_point(
        LeastSquaresStep(system),
        torch.view_as_real(start),
        method=Plain(),
        tolerance=Absolute(1e-9, size=largest_element),
        max_evaluations=APPROACH_STEPS,
        throw=False,
    )
    return torch.view_as_complex(limit.state.contiguous())


def follow_newton(extended: ExtendedSystem, dual: DualSpace) -> CertifiedRoot:
    """Return where Newton's iteration on the extended system ends, and its alpha test."""
    steps: list[float] = []
    scale = 1 + float(extended.start.abs().max())
    tolerance = NEWTON_ROUNDINGS * torch.finfo(torch.float64).eps * scale
    limit = fixed_point(
        NewtonStep(extended.system),
        torch.view_as_real(extended.start),
        method=Plain(),
        tolerance=Absolute(tolerance, size=largest_element),
        max_evaluations=NEWTON_BUDGET,
        callback=lambda event: steps.append(float(event.residual)),
        throw=False,
    )
    unknowns = torch.view_as_complex(limit.state.contiguous())
    alpha = measure_alpha(extended.system, unknowns)
    numbers = unknowns[len(unknowns) - len(extended.deformations) :].tolist()
    return CertifiedRoot(
        point=unknowns[: extended.variables],
        radius=2 * alpha.beta,
        multiplicity=dual.multiplicity,
        hilbert_function=dual.hilbert_function,
        deformation=dict(
            zip(
                extended.deformations,
                numbers,
                strict=True,
            )
        ),
        dual_space=dual,
        alpha=alpha,
        steps=tuple(steps),
        limit=limit,
    )
