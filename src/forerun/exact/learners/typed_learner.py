"""TypedLearner: parameters with an implementation, an update and a request, which compose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from forerun.exact.learners.lenses import (
    SimpleLens,
    Space,
    check_spaces,
    join_values,
    split_value,
    unwrap_value,
    wrap_value,
)

Parameters = tuple[Any, ...]


@final
@dataclass(frozen=True)
class TypedLearner:
    """A learner from A to B, a map of parametrised lenses (Spivak, arXiv 2103.01189).

        implement: P x A -> B,    update: P x A x B -> P,    request: P x A x B -> A

    Composition is that of Fong, Spivak and Tuyeras ("Backprop as functor", 2019). Parameters are flat tuples, so that
    it is associative as it is written, and not only up to brackets. Values are whatever the functions take: rationals,
    where laws are to hold exactly, or tensors.

    Attributes:
        source: the factors of A, such as `("R",)`.
        target: the factors of B.
        parameters: a first value of P, `(n,)`.
        implement: takes `(p, a)` to `b`.
        update: takes `(p, a, b)` to new parameters, where `b` is what should have come out.
        request: takes `(p, a, b)` to the `a` that it would have liked.
    """

    source: Space
    target: Space
    parameters: Parameters
    implement: Callable[[Parameters, Any], Any]
    update: Callable[[Parameters, Any, Any], Parameters]
    request: Callable[[Parameters, Any, Any], Any]

    def then(self, other: TypedLearner) -> TypedLearner:
        """Return the learner that goes on with another one: the second requests of the first what it should have given.

        Raises:
            SpaceMismatch: it does not begin where this one ends.
        """
        check_spaces(self.target, other.source)
        count = len(self.parameters)

        def implement(p: Parameters, a: Any) -> Any:
            return other.implement(p[count:], self.implement(p[:count], a))

        def wish(p: Parameters, a: Any, c: Any) -> Any:
            return other.request(p[count:], self.implement(p[:count], a), c)

        def update(p: Parameters, a: Any, c: Any) -> Parameters:
            second = other.update(p[count:], self.implement(p[:count], a), c)
            return self.update(p[:count], a, wish(p, a, c)) + second

        def request(p: Parameters, a: Any, c: Any) -> Any:
            return self.request(p[:count], a, wish(p, a, c))

        parameters = self.parameters + other.parameters
        return TypedLearner(
            self.source,
            other.target,
            parameters,
            implement,
            update,
            request,
        )

    def beside(self, other: TypedLearner) -> TypedLearner:
        """Return the learner of pairs, this one beside another."""
        count = len(self.parameters)
        sizes = len(self.source), len(other.source)
        goals = len(self.target), len(other.target)

        def implement(p: Parameters, a: Any) -> Any:
            first, second = split_value(a, sizes)
            values = self.implement(p[:count], first), other.implement(p[count:], second)
            return join_values(values, goals)

        def update(p: Parameters, a: Any, b: Any) -> Parameters:
            (first, second), (third, fourth) = split_value(a, sizes), split_value(b, goals)
            return self.update(p[:count], first, third) + other.update(p[count:], second, fourth)

        def request(p: Parameters, a: Any, b: Any) -> Any:
            (first, second), (third, fourth) = split_value(a, sizes), split_value(b, goals)
            values = self.request(p[:count], first, third), other.request(p[count:], second, fourth)
            return join_values(values, sizes)

        spaces = self.source + other.source, self.target + other.target
        return TypedLearner(*spaces, self.parameters + other.parameters, implement, update, request)


def identity_learner(space: Space) -> TypedLearner:
    """Return the learner without parameters that gives what it gets, and requests what it should have given."""
    return TypedLearner(
        space,
        space,
        (),
        lambda p, a: a,
        lambda p, a, b: (),
        lambda p, a, b: b,
    )


def lens_of_learner(learner: TypedLearner) -> SimpleLens:
    """Return a learner as a lens from parameters and inputs to outputs, by which learners are parametrised lenses."""
    count, sizes = len(learner.parameters), len(learner.source)

    def split(pa: Any) -> tuple[Parameters, Any]:
        values = wrap_value(pa, count + sizes)
        return values[:count], unwrap_value(values[count:])

    def view(pa: Any) -> Any:
        return learner.implement(*split(pa))

    def put(pa: Any, b: Any) -> Any:
        p, a = split(pa)
        return unwrap_value(learner.update(p, a, b) + wrap_value(learner.request(p, a, b), sizes))

    return SimpleLens(("P",) * count + learner.source, learner.target, view, put)


def scale_learner(weight: Any, rate: Any) -> TypedLearner:
    """Return `b = w a` with one step down `(w a - b)^2 / 2`; exact where weight and rate are rationals."""

    def update(p: Parameters, a: Any, b: Any) -> Parameters:
        return (p[0] - rate * (p[0] * a - b) * a,)

    def request(p: Parameters, a: Any, b: Any) -> Any:
        return a - (p[0] * a - b) * p[0]

    return TypedLearner(
        ("R",),
        ("R",),
        (weight,),
        lambda p, a: p[0] * a,
        update,
        request,
    )


def bias_learner(bias: Any, rate: Any) -> TypedLearner:
    """Return `b = a + w` with one step down `(a + w - b)^2 / 2`."""

    def update(p: Parameters, a: Any, b: Any) -> Parameters:
        return (p[0] - rate * (a + p[0] - b),)

    return TypedLearner(
        ("R",),
        ("R",),
        (bias,),
        lambda p, a: a + p[0],
        update,
        lambda p, a, b: b - p[0],
    )


def square_learner() -> TypedLearner:
    """Return `b = a^2`, without parameters, with the request of `(a^2 - b)^2 / 2`."""

    def request(p: Parameters, a: Any, b: Any) -> Any:
        return a - 2 * a * (a * a - b)

    return TypedLearner(
        ("R",),
        ("R",),
        (),
        lambda p, a: a * a,
        lambda p, a, b: (),
        request,
    )
