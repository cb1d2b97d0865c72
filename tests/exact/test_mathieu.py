"""Mathieu's conjecture: moments against oracles, the counterexample for fifty powers, searches, bad input."""

from fractions import Fraction
from math import comb, factorial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forerun.exact.mathieu import (
    MatrixFunction,
    coordinate_functions,
    haar_moment,
    integrate_class_function,
    list_moments,
    list_products,
    list_sums,
    list_trace_moments,
    long_counterexample,
    search_counterexamples,
    sp_two,
    su_three,
    su_two,
)
from forerun.exact.mathieu.weyl_integration import multiply_on_torus

A, B, C, D = coordinate_functions()
powers = st.tuples(*[st.integers(0, 3)] * 4)
functions = st.dictionaries(powers, st.integers(-3, 3), min_size=1, max_size=4).map(MatrixFunction)


def test_the_counterexample_for_fifty_powers():
    moments = list_moments(*long_counterexample(), powers=50)
    assert moments.is_null
    assert moments.value == [Fraction((-1) ** (n - 1), n + 1) for n in range(1, 51)]
    assert moments.contradicts
    assert moments.last_nonzero == 50


def test_the_counterexample_by_its_proof():
    """The sums that the two lines of the docstring name, without any function on the group."""
    for n in range(1, 60):
        plain, paired = Fraction(0), Fraction(0)
        for s in range(n + 1):
            integral = Fraction((-1) ** s * factorial(n - s) * factorial(s), factorial(n + 1))
            plain += comb(n, s) * comb(n, s) * integral
            paired -= comb(n, s) * comb(n, s - 1) * integral if s else 0
        assert plain == 0
        assert paired == Fraction((-1) ** (n - 1), n + 1)


@settings(max_examples=50, deadline=None)
@given(functions, functions)
def test_three_ways_to_the_same_integral(f, g):
    product_integral = (f * g).integrate()
    assert product_integral == f.integrate_with(g) == g.integrate_with(f)
    assert product_integral == (f * g).integrate_by_angles()


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.tuples(*[st.integers(0, 2)] * 4), st.integers(-3, 3), min_size=1, max_size=3))
def test_integrals_are_those_of_the_haar_measure(terms):
    """The same, exactly, after a rotation from the left or from the right, and times `ad - bc`, which is 1."""
    f = MatrixFunction(terms)
    cos, sin = Fraction(3, 5), Fraction(4, 5)
    left = (cos * A - sin * B, sin * A + cos * B, cos * C - sin * D, sin * C + cos * D)
    right = (cos * A - sin * C, cos * B - sin * D, sin * A + cos * C, sin * B + cos * D)
    for shifted in (left, right):
        total = MatrixFunction({})
        for exponents, coefficient in terms.items():
            term = MatrixFunction({(0, 0, 0, 0): coefficient})
            for entry, power in zip(shifted, exponents, strict=True):
                term = term * entry**power
            total = total + term
        assert total.integrate() == f.integrate()
    assert (f * (A * D - B * C)).integrate() == f.integrate()


def test_integrals_are_those_of_random_matrices():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(200_000, 4, dtype=torch.float64, generator=generator)
    points = points / points.norm(dim=1, keepdim=True)
    a, b = torch.complex(points[:, 0], points[:, 1]), torch.complex(points[:, 2], points[:, 3])
    entries = (a, b, -b.conj(), a.conj())
    for exponents in ((1, 0, 0, 1), (0, 1, 1, 0), (2, 1, 1, 2), (1, 0, 0, 0), (0, 2, 2, 0)):
        values = torch.stack([entry**power for entry, power in zip(entries, exponents, strict=True)]).prod(0)
        assert abs(values.mean() - float(haar_moment(exponents))) < 5e-3


def test_functions_are_written_like_numbers():
    f = (1 + C) * (A * D + B)
    assert f.terms == long_counterexample()[0].terms
    assert (2 - A).terms == {(0, 0, 0, 0): 2, (1, 0, 0, 0): -1}
    assert (A - A).terms == {}
    assert (A - 1).terms == {(1, 0, 0, 0): 1, (0, 0, 0, 0): -1}
    assert str(A * A * 3 - Fraction(1, 2) * B) == "+3 a^2 -1/2 b"
    assert str(A**12) == "+1 a^12"
    assert str(A - A) == "0"
    assert (A**0).terms == {(0, 0, 0, 0): 1}


@pytest.mark.parametrize(
    "group, moments",
    [
        (su_two(), [1, 0, 1, 0, 2, 0, 5, 0, 14, 0, 42]),
        (su_three(), [1, 0, 0, 1, 0, 0, 5, 0, 0, 42, 0]),
        (sp_two(), [1, 0, 1, 0, 3, 0, 14, 0, 84, 0, 594]),
    ],
)
def test_moments_of_traces_are_numbers_of_walks(group, moments):
    """Catalan numbers, Young tableaux of three rows, and walks in the chamber of Sp(2): all known sequences."""
    assert list_trace_moments(group) == moments
    assert sum(integrate_class_function(group, {(0,) * len(root): 1}) for root in group.roots[:1]) == 1


def test_moments_of_the_size_of_the_trace_count_permutations():
    """Over SU(3), int |tr|^(2n) is the number of permutations of n without an increasing run of four (Rains)."""
    trace = su_three().trace
    conjugate = {tuple(-power for power in powers): count for powers, count in trace.items()}
    squared = multiply_on_torus(trace, conjugate)
    assert list_trace_moments(su_three(), squared, powers=6) == [1, 1, 2, 6, 23, 103, 513]


def test_class_functions_of_su_two_agree_with_polynomials():
    """The trace is a + d: two ways to the same integrals."""
    f = A + D
    for n, moment in enumerate(list_trace_moments(su_two(), powers=8)):
        assert (f**n).integrate() == moment


def test_few_monomials_do_not_show_it_and_products_do():
    for count in (1, 2):
        result = search_counterexamples(list_sums(count, degree=2))
        assert result.null > 0
        assert result.candidates == []
    result = search_counterexamples(list_products(2))
    assert len(result.candidates) == 4
    F = long_counterexample()[0]
    assert F.terms in [dict(f.terms) for f, _ in result.candidates]
    for f, g in result.candidates:
        assert list_moments(f, g, powers=20).contradicts


def test_what_looks_like_a_counterexample_is_followed_further():
    """Powers of d + c^3 + a^2 b first count at n = 10."""
    f = D + C**3 + A**2 * B
    assert list_moments(f, B, powers=8).contradicts
    result = search_counterexamples([f, long_counterexample()[0]], powers=8)
    assert (result.null, result.refuted, len(result.candidates)) == (2, 1, 1)
    assert list_moments(f, B, powers=10).plain[-1] == -1


@pytest.mark.parametrize("count, degree, length", [(1, 1, 5), (2, 1, 20), (3, 2, 1820)])
def test_sums_are_listed_once_each(count, degree, length):
    listed = [frozenset(f.terms.items()) for f in list_sums(count, degree=degree)]
    assert len(listed) == len(set(listed)) == length


def test_a_null_function_that_obeys_the_conjecture():
    """Powers of a alone: with g = d they end after one."""
    moments = list_moments(A, D, powers=9)
    assert moments.is_null
    assert moments.last_nonzero == 1
    assert not moments.contradicts
    assert not list_moments(A + D, powers=4).is_null


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: MatrixFunction({(1, 0, 0): 1}), "four whole numbers"),
        (lambda: MatrixFunction({(1, 0, 0, -1): 1}), "four whole numbers"),
        (lambda: MatrixFunction({(1, 0, 0, 0): 0.5}), "Fraction\\(1, 2\\)"),
        (lambda: list_moments(A, powers=0), "powers=20"),
        (lambda: list_moments(A, powers=10**6), "from 1 to 200"),
        (lambda: integrate_class_function(su_three(), {(1,): 1}), "torus of rank 2"),
        (lambda: list_trace_moments(sp_two(), {(1, 2, 3): 1}), "torus of rank 2"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, says):
    with pytest.raises(ValueError, match=says):
        call()
