"""Apery-like series: balls against other evaluations, relations found and excluded, bad input."""

from fractions import Fraction
from itertools import pairwise, product
from math import log, pi, sqrt

import flint
import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forerun.exact.apery import (
    BinomialSeries,
    ColouredZeta,
    exclude_relations,
    find_relation,
    integrate_word,
    silver_constants,
)
from forerun.exact.apery.relations import height_below, round_scaled
from forerun.exact.apery.series import chebyshev_weights
from forerun.limits import Levin

DIGITS = 100


@pytest.fixture
def precise():
    with flint.ctx.workprec(1200):
        yield


@pytest.fixture
def constants(precise):
    return silver_constants(DIGITS)


def holds(ball, digits=80):
    return ball.contains(0) and float(abs(ball).upper()) < 10.0**-digits


@pytest.mark.parametrize("weight", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("base", [-4, -1, Fraction(-7, 2), Fraction(-1, 100)])
def test_a_ball_holds_the_sum(weight, base, precise):
    series = BinomialSeries(weight, base)
    ball = series.evaluate(50)
    assert float(ball.rad()) < 1e-50
    with mpmath.workdps(40):
        z = mpmath.mpf(Fraction(base).numerator) / Fraction(base).denominator
        ones = [1] * (weight + 1)
        other = z / 2 * mpmath.hyper(ones, [mpmath.mpf(3) / 2, *[2] * (weight - 1)], z / 4) if base != -4 else None
        if other is not None:
            assert abs(other - mpmath.mpf(ball.mid().str(45, radius=False))) < mpmath.mpf(10) ** -36
    assert ball.overlaps(series.evaluate(20))


def test_the_error_of_the_alternating_sum_is_at_most_what_is_claimed(precise):
    """With few terms, where the bound is wide: the truth lies inside, and not far from its end."""
    series = BinomialSeries(2)
    truth = series.evaluate(200)
    for count in (3, 6, 12, 25):
        weights, denominator = chebyshev_weights(count)
        total = sum(w * abs(series.term(n)) for n, w in enumerate(weights, start=1)) / denominator
        bound = abs(series.term(1)) / denominator
        error = abs(truth + flint.arb(flint.fmpq(total.numerator, total.denominator)))
        assert error < flint.arb(flint.fmpq(bound.numerator, bound.denominator))


def test_closed_forms_of_weight_one_to_three(constants):
    L, log2, zeta3 = constants["L"], constants["log2"], constants["zeta3"]
    assert holds(BinomialSeries(1).evaluate(DIGITS) + constants["sqrt2"] * L)
    assert holds(BinomialSeries(2).evaluate(DIGITS) + 2 * L**2)
    third = -2 * zeta3 + 2 * constants["Li3(q)"] + L**3 * 8 / 3 - 4 * L**2 * log2 + 4 * L * constants["Li2(q)"]
    assert holds(BinomialSeries(3).evaluate(DIGITS) - third)
    assert not holds(BinomialSeries(3).evaluate(DIGITS) - third + flint.arb(10) ** -75)


def test_a_closed_form_of_weight_four(constants):
    """Found by the study: in Li4 at 1 - q and q / (q - 1), and products."""
    c, L, log2, square = constants, constants["L"], constants["log2"], constants["pi"] ** 2
    total = 360 * (c["Li4(1-q)"] - c["Li4(q/(q-1))"] - c["zeta3"] * L + c["Li3(q)"] * L + 2 * c["Li3(1-q)"] * L)
    total += -7 * square**2 - 435 * L**4 + 660 * L**3 * log2 - 90 * L**2 * log2**2 - 60 * L * log2**3 - 15 * log2**4
    total += square * (90 * L**2 - 60 * L * log2 - 30 * log2**2)
    assert holds(BinomialSeries(4).evaluate(DIGITS) + total / 90)


def test_other_bases_have_their_arcsine(precise):
    """sum (-1)^n / (n^2 C(2n, n)) = -2 log((1 + sqrt 5) / 2)^2."""
    golden = ((1 + flint.arb(5).sqrt()) / 2).log()
    assert holds(BinomialSeries(2, -1).evaluate(DIGITS) + 2 * golden**2)


def test_coloured_values_that_are_known(constants):
    assert holds(ColouredZeta((2, 1), (0, 0)).evaluate(DIGITS).real - constants["zeta3"])
    assert holds(ColouredZeta((3,), (0,), level=1).evaluate(DIGITS).real - constants["zeta3"])
    assert holds(ColouredZeta((1,), (1,), level=2).evaluate(DIGITS).real + constants["log2"])
    assert holds(ColouredZeta((2,), (2,)).evaluate(DIGITS).imag - constants["G"])
    silver = ColouredZeta((1,), (1,)).evaluate(DIGITS) - ColouredZeta((1,), (3,)).evaluate(DIGITS)
    assert holds(silver.real - constants["L"])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 3), st.integers(0, 11), st.integers(0, 11))
def test_products_are_shuffled(level, s, r, x, y):
    """Z(s; x) Z(r; y) = Z(s, r; x, y) + Z(r, s; y, x) + Z(s + r; x + y), the stuffle product."""
    if (s == 1 and x % level == 0) or (r == 1 and y % level == 0):
        return
    with flint.ctx.workprec(300):
        value = {
            key: ColouredZeta(*key, level=level).evaluate(40)
            for key in (((s,), (x,)), ((r,), (y,)), ((s, r), (x, y)), ((r, s), (y, x)), ((s + r,), (x + y,)))
        }
        left = value[(s,), (x,)] * value[(r,), (y,)]
        right = value[(s, r), (x, y)] + value[(r, s), (y, x)] + value[(s + r,), (x + y,)]
        difference = left - right
        assert difference.contains(0)
        assert float(abs(difference).upper()) < 1e-38


@pytest.mark.parametrize(
    "exponents, colours", [((2, 1), (3, 2)), ((1, 1), (1, 2)), ((1, 2, 1), (5, 1, 4)), ((2,), (0,))]
)
def test_coloured_values_are_their_sums(exponents, colours):
    count = 20000
    inner = torch.ones(count + 1, dtype=torch.complex128)
    n = torch.arange(1, count + 1, dtype=torch.float64)
    for exponent, colour in zip(reversed(exponents), reversed(colours), strict=True):
        terms = torch.exp(2j * pi * colour * n / 8) / n**exponent * inner[:-1]
        inner = torch.cat([torch.zeros(1, dtype=torch.complex128), terms.cumsum(0)])
    ball = ColouredZeta(exponents, colours).evaluate(20)
    mean = inner[-8:].mean()  # over a turn of the colours
    assert abs(mean - complex(float(ball.real.mid()), float(ball.imag.mid()))) < 2e-4


def test_level_eight_holds_the_dilogarithm_and_not_level_four(constants):
    L, log2, square = constants["L"], constants["log2"], constants["pi"] ** 2
    double = ColouredZeta((1, 1), (1, 2)).evaluate(DIGITS).real
    relation = find_relation([constants["Li2(q)"], double, square, L * L, L * log2, log2**2])
    assert relation.value == (48, -384, -5, 0, -144, 12)
    assert relation.residual_bound < 1e-95
    assert relation.excluded_height > 10**6
    level_four = [square, log2**2, constants["G"], constants["pi"] * log2]
    assert exclude_relations([BinomialSeries(2).evaluate(DIGITS), *level_four]) > 10**12


def test_a_relation_is_that_of_pslq(constants):
    L = constants["L"]
    values = [BinomialSeries(3).evaluate(DIGITS), constants["zeta3"], constants["Li3(q)"], L**3,
              L**2 * constants["log2"], L * constants["Li2(q)"]]  # fmt: skip
    ours = find_relation(values)
    with mpmath.workdps(90):
        theirs = mpmath.pslq([mpmath.mpf(value.mid().str(95, radius=False)) for value in values], maxcoeff=10**4,
                             maxsteps=10**5)  # fmt: skip
    assert ours.value in (tuple(theirs), tuple(-c for c in theirs))
    assert ours.value == (3, 6, -6, -8, 12, -12)


def test_a_dependent_basis_gives_its_own_relation_first(precise):
    """The trap: Li3(x) + Li3(-x) = Li3(x^2) / 4 says nothing of the series."""
    x = flint.arb(2).sqrt() - 1
    tri = [flint.acb(z).polylog(3).real for z in (x, -x, x * x)]
    relation = find_relation([BinomialSeries(3).evaluate(DIGITS), *tri])
    assert relation.value == (0, 4, 4, -1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=5).filter(lambda c: c[-1] != 0))
def test_what_is_excluded_is_never_a_relation_that_there_is(coefficients):
    """Logarithms of primes, and a value made of them: the height that is excluded stays below the relation."""
    with flint.ctx.workprec(400):
        logs = [flint.arb(p).log() for p in (2, 3, 5, 7, 11)[: len(coefficients)]]
        combined = sum((c * x for c, x in zip(coefficients, logs, strict=True)), start=flint.arb(0))
        height = max(1, *map(abs, coefficients))
        assert exclude_relations([combined, *logs]) < height
        assert exclude_relations(logs) > 10**6
        relation = find_relation([combined, *logs], max_height=100)
        assert relation.value is not None
        assert relation.value[0] != 0
        ratio = Fraction(-1, relation.value[0])
        assert [ratio * c for c in relation.value[1:]] == coefficients


def test_no_relation_is_reported_where_there_is_none(constants):
    relation = find_relation([constants["pi"], constants["G"], constants["log2"]], max_height=1000)
    assert relation.value is None
    assert relation.excluded_height > 10**6


def test_heights_are_those_of_the_bound():
    assert height_below(Fraction(0), 3) == 0
    for height, count in product((1, 5, 100), (2, 7)):
        square = Fraction(count * (count + 1) * height**2)
        assert height_below(square, count) == height - 1
        assert height_below(square + Fraction(1, 9), count) == height
    with flint.ctx.workprec(200):
        assert round_scaled(flint.arb(-2.75), 1) == -5
        assert round_scaled(flint.arb(3) * 2**90, 2) == 3 << 92


def test_transforms_of_partial_sums_gain_what_the_plain_sum_cannot():
    series = BinomialSeries(2)
    truth = -2 * log(1 + sqrt(2)) ** 2
    sums = series.partial_sums(20)
    errors = [abs(float(Levin().extrapolate(sums[:count])) - truth) for count in (5, 10, 16)]
    assert errors[-1] < 1e-10
    assert abs(float(sums[-1]) - truth) > 1e-3
    assert all(second < first for first, second in pairwise(errors))


def test_terms_are_exact_and_the_precision_of_others_is_left_alone():
    assert BinomialSeries(2, Fraction(-1, 2)).term(3) == Fraction(-1, 8 * 9 * 20)
    before = flint.ctx.prec
    BinomialSeries(2).evaluate(200)
    silver_constants(200)
    assert flint.ctx.prec == before


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: BinomialSeries(0), "write 3"),
        (lambda: BinomialSeries(2.0), "write 3"),
        (lambda: BinomialSeries(2, 4), "must alternate"),
        (lambda: BinomialSeries(2, -5), "must alternate"),
        (lambda: BinomialSeries(2, -0.5), "Fraction"),
        (lambda: BinomialSeries(2).evaluate(0), "digits=80"),
        (lambda: BinomialSeries(2).evaluate(10**6), "from 1 to 3000"),
        (lambda: ColouredZeta((), ()), "as many of each"),
        (lambda: ColouredZeta((1, 2), (1,)), "as many of each"),
        (lambda: ColouredZeta((0,), (1,)), "1 or more"),
        (lambda: ColouredZeta((9,), (1,)), "at most 8"),
        (lambda: ColouredZeta((1,), (8,)), "diverges"),
        (lambda: ColouredZeta((2,), (1,), level=13), "from 1 to 12"),
        (lambda: integrate_word([0, 0], distance=1.0), "diverges"),
        (lambda: integrate_word([1, 1], distance=1.0), "diverges"),
        (lambda: integrate_word([1, 0], distance=0.4), "too near"),
        (lambda: find_relation([flint.arb(1)]), "2 to 24"),
        (lambda: find_relation([1.0, 2.0]), "rather than floats"),
        (lambda: find_relation([flint.arb(1), flint.acb(2)]), "take .real"),
        (lambda: find_relation([flint.arb(2).sqrt(), flint.arb("nan")]), "real balls"),
        (lambda: find_relation([flint.arb(2).sqrt(), flint.arb(3).sqrt()], max_height=10**9), "digits="),
        (lambda: exclude_relations([flint.arb(1, 0.1), flint.arb(3)]), "digits=80"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, says):
    with pytest.raises(ValueError, match=says):
        call()
