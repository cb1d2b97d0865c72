"""The laws of a category with pairs, checked on learners at an example."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

from forerun.exact.learners.typed_learner import (
    TypedLearner,
    bias_learner,
    identity_learner,
    scale_learner,
    square_learner,
)

FourLearners = tuple[TypedLearner, TypedLearner, TypedLearner, TypedLearner]


def check_laws(four: FourLearners, a: Any, b: Any) -> dict[str, bool]:
    """Return which laws hold for four learners from a space of one factor to itself, at an input and a target.

    Values are compared by `==`: with rationals the laws hold exactly or not at all.

    Args:
        four: `(f, g, h, k)`.
        a: an input.
        b: a target.
    """
    f, g, h, k = four
    one = identity_learner(f.source)
    pair, wish = (a, b), (b, a)
    exchanged = f.then(h).beside(g.then(k)), f.beside(g).then(h.beside(k))
    return {
        "associativity": are_equal(f.then(g).then(h), f.then(g.then(h)), a, b),
        "identity": are_equal(one.then(f).then(one), f, a, b),
        "associativity of pairs": are_equal(f.beside(g).beside(h), f.beside(g.beside(h)), (a, b, a), (b, b, a)),
        "interchange": _request(exchanged[0], pair, wish) == _request(exchanged[1], pair, wish),
    }


def draw_learner(random: Random) -> TypedLearner:
    """Return a random learner of one rational number: a weight, a bias or the square; to try laws on."""
    value, rate = (Fraction(random.randint(-9, 9), random.randint(1, 5)) for _ in range(2))
    return random.choice([scale_learner(value, rate), bias_learner(value, rate), square_learner()])


def are_equal(
    first: TypedLearner,
    second: TypedLearner,
    a: Any,
    b: Any,
) -> bool:
    """Return whether two learners have equal parameters, and do the same at an input and a target."""
    p = first.parameters
    return bool(
        p == second.parameters
        and first.implement(p, a) == second.implement(p, a)
        and first.update(p, a, b) == second.update(p, a, b)
        and first.request(p, a, b) == second.request(p, a, b)
    )


def _request(learner: TypedLearner, a: Any, b: Any) -> Any:
    return learner.request(learner.parameters, a, b)
