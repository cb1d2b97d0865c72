"""Characters of the classical groups: known ones, expansions by three routes, dual pairs, spin, bad input."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forerun.exact.characters import (
    coefficient_by_determinant,
    coefficient_by_recurrence,
    count_dimension,
    expand_kernel,
    expand_product,
    find_period,
    multiply_characters,
    multiply_spin,
    orthogonal_group,
    special_orthogonal_group,
    symplectic_group,
    weyl_character,
)
from forerun.exact.characters.weyl import add_terms, expand_alternant, multiply_terms

HALF = Fraction(1, 2)
SQUARES = {2: 1, 0: 1, -2: 1}
LADDERS = (symplectic_group, orthogonal_group, special_orthogonal_group)
GROUPS = [symplectic_group(2), symplectic_group(4), symplectic_group(6), orthogonal_group(3), orthogonal_group(5),
          orthogonal_group(7), orthogonal_group(2), orthogonal_group(4), orthogonal_group(6),
          special_orthogonal_group(4), special_orthogonal_group(6)]  # fmt: skip
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name + "s" * group.splits)


def weights_up_to(group, degree):
    """Dominant whole weights of a group, and those of spin."""
    entries = range(degree + 1)
    weights = [w for w in product(entries, repeat=group.rank) if list(w) == sorted(w, reverse=True)]
    if group.splits:
        weights += [(*w[:-1], -w[-1]) for w in weights if w[-1]]
    if group.has_spin:
        weights += [tuple(part + HALF if part >= 0 else part - HALF for part in w) for w in weights]
    return weights


@pytest.mark.parametrize(
    "group, weight, dimension",
    [
        (symplectic_group(2), (7,), 8),
        (symplectic_group(4), (1, 1), 5),
        (symplectic_group(6), (1, 1, 1), 14),
        (symplectic_group(8), (2, 0, 0, 0), 36),
        (orthogonal_group(5), (HALF, HALF), 4),
        (orthogonal_group(7), (1, 1, 0), 21),
        (orthogonal_group(9), (HALF,) * 4, 16),
        (orthogonal_group(4), (1, 1), 6),
        (special_orthogonal_group(4), (1, -1), 3),
        (special_orthogonal_group(8), (1, 0, 0, 0), 8),
        (special_orthogonal_group(8), (HALF, HALF, HALF, -HALF), 8),
        (special_orthogonal_group(6), (1, 1, 1), 10),
    ],
)
def test_dimensions_that_every_table_has(group, weight, dimension):
    assert count_dimension(group, weight) == dimension
    assert sum(weyl_character(group, weight).values()) == dimension


@every_group
def test_a_character_is_what_dimension_and_symmetry_say(group):
    for weight in weights_up_to(group, 2):
        weights = weyl_character(group, weight)
        assert weights[weight] == 1
        assert min(weights.values()) > 0
        assert sum(weights.values()) == count_dimension(group, weight)
        for powers, count in weights.items():
            flipped = (-powers[0], *powers[1:])
            turned = (-powers[0], -powers[1], *powers[2:]) if group.splits else flipped
            assert weights[turned] == count
            assert weights[tuple(reversed(powers))] == count


def test_the_adjoint_of_sp4_is_its_root_system():
    roots = weyl_character(symplectic_group(4), (2, 0))
    assert roots == {w: 2 if w == (0, 0) else 1 for w in product(range(-2, 3), repeat=2)
                     if abs(w[0]) + abs(w[1]) in (0, 2)}  # fmt: skip


@every_group
def test_products_of_characters_have_the_product_of_weights(group):
    for first, second in product(weights_up_to(group, 1), repeat=2):
        whole = multiply_terms(*(doubled(group, w) for w in (first, second)))
        parts = multiply_characters(group, first, second)
        assert whole == add_terms((count, doubled(group, weight)) for weight, count in parts.items())
        assert min(parts.values()) > 0


def doubled(group, weight):
    return {tuple(int(2 * part) for part in powers): count for powers, count in weyl_character(group, weight).items()}


def test_expansions_of_the_paper():
    """The pilot's least squares, and equation (1.1) of the paper in rank 1 to 3."""
    assert expand_product(symplectic_group(2), SQUARES).value == {(2,): 1}
    assert expand_product(symplectic_group(4), SQUARES).value == {(2, 2): 1, (1, 1): -1}
    assert expand_product(symplectic_group(6), SQUARES).value == {
        (2, 2, 2): 1,
        (2, 1, 1): -1,
        (1, 1, 0): 1,
        (0, 0, 0): -1,
    }


@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_expansions_to_rank_five_are_the_same_polynomial(ladder, rank):
    group = ladder(2 * rank)
    expansion = expand_product(group, SQUARES)
    assert expansion.certified
    assert "certified" in str(expansion)
    dimensions = sum(count * count_dimension(group, weight) for weight, count in expansion.value.items())
    assert dimensions == 3**rank


@every_group
def test_sums_of_characters_are_the_product_itself(group):
    """Without the Weyl denominator: characters by division, and the product multiplied out."""
    factor = {3: 1, 1: -2, 0: 5, -1: -2, -3: 1}
    expansion = expand_product(group, factor, certify=False)
    total = add_terms((count, doubled(group, weight)) for weight, count in expansion.value.items())
    plain = {tuple(2 * e for e, _ in choice): 1 for choice in product(factor.items(), repeat=group.rank)}
    for choice in product(factor.items(), repeat=group.rank):
        coefficient = 1
        for _, count in choice:
            coefficient *= count
        plain[tuple(2 * exponent for exponent, _ in choice)] = coefficient
    assert total == plain
    assert not expansion.certified
    assert "not certified" in str(expansion)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GROUPS), st.lists(st.integers(-4, 4), min_size=1, max_size=5), st.booleans(), st.data())
def test_recurrence_and_determinant_agree(group, half, spin, data):
    offset = HALF if spin and group.has_spin else 0
    factor = {sign * (power + offset): count for power, count in enumerate(half) for sign in (1, -1)}
    if not any(factor.values()):
        factor[offset] = factor[-offset] = 1
    parts = sorted((data.draw(st.integers(0, 6)) for _ in range(group.rank)), reverse=True)
    weight = [part + offset for part in parts]
    by_recurrence = coefficient_by_recurrence(group, factor, weight)
    assert by_recurrence == coefficient_by_determinant(group, factor, weight)
    if max(parts) > len(half):
        assert by_recurrence == 0


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_spin_expansions_are_those_of_other_groups(rank):
    """King: what a spin factor does in SO(2n+1), the rest does in Sp(2n)."""
    for factor in (SQUARES, {1: 1, 0: -3, -1: 1}, {3: 2, 2: 1, -2: 1, -3: 2}):
        spin = expand_product(orthogonal_group(2 * rank + 1), multiply_spin(factor))
        plain = expand_product(symplectic_group(2 * rank), factor, certify=False)
        assert spin.value == {tuple(part + HALF for part in weight): c for weight, c in plain.value.items()}


@pytest.mark.parametrize(
    "first, second, sign, is_dual",
    [
        (symplectic_group(4), symplectic_group(4), 1, True),
        (symplectic_group(2), symplectic_group(6), -1, True),
        (orthogonal_group(5), orthogonal_group(7), -1, True),
        (orthogonal_group(5), orthogonal_group(5), 1, False),
        (orthogonal_group(4), orthogonal_group(6), 1, True),
        (symplectic_group(4), orthogonal_group(5), 1, False),
    ],
)
def test_dual_pairs(first, second, sign, is_dual):
    pair = expand_kernel(first, second, sign=sign)
    assert pair.is_dual == is_dual
    at_one = sum(
        count * count_dimension(first, a) * count_dimension(second, b) for (a, b), count in pair.coefficients.items()
    )
    assert at_one == (2 + 2 * sign) ** (first.rank * second.rank)
    if is_dual:
        assert len(pair.coefficients) == {2: 6, 3: 10}[max(first.rank, second.rank)] or first.rank == 1


def test_periods_along_the_rank():
    ranks = range(1, 25)
    sequence = [coefficient_by_recurrence(symplectic_group(2 * rank), SQUARES, (0,) * rank) for rank in ranks]
    assert find_period(sequence) == 6
    assert find_period([1, 2, 3, 4]) == 0
    assert find_period([]) == 0


def test_an_alternant_is_a_sum_over_the_whole_weyl_group():
    assert len(expand_alternant(symplectic_group(6), symplectic_group(6).rho)) == 48
    assert len(expand_alternant(orthogonal_group(6), orthogonal_group(6).rho)) == 24
    assert len(expand_alternant(special_orthogonal_group(6), (Fraction(3), Fraction(2), Fraction(-1)))) == 24


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: symplectic_group(5), "write symplectic_group\\(6\\)"),
        (lambda: orthogonal_group(90), "from 2 to 81"),
        (lambda: orthogonal_group(True), "size of the matrices"),
        (lambda: special_orthogonal_group(1), "from 2"),
        (lambda: weyl_character(symplectic_group(4), (1,)), "has rank 2"),
        (lambda: weyl_character(symplectic_group(4), (1, 2)), "pass \\(2, 1\\)"),
        (lambda: weyl_character(orthogonal_group(5), (1, -1)), "pass \\(1, 1\\)"),
        (lambda: weyl_character(special_orthogonal_group(4), (1, -2)), "pass \\(2, 1\\)"),
        (lambda: weyl_character(symplectic_group(4), (HALF, HALF)), "must all be whole$"),
        (lambda: weyl_character(orthogonal_group(5), (Fraction(3, 2), 1)), "halves of odd numbers"),
        (lambda: expand_product(symplectic_group(4), {}), "has no terms"),
        (lambda: expand_product(symplectic_group(4), {0: 0}), "has no terms"),
        (lambda: expand_product(symplectic_group(4), {1: 1, 0: 2}), "the exponent -1 the coefficient 1"),
        (lambda: expand_product(symplectic_group(4), {1: 1.0, -1: 1.0}), "must be integers"),
        (lambda: expand_product(symplectic_group(4), {HALF: 1, -HALF: 1}), "take orthogonal_group\\(5\\)"),
        (lambda: expand_product(orthogonal_group(5), {HALF: 1, -HALF: 1, 0: 1}), "all be whole, or all be halves"),
        (lambda: expand_product(orthogonal_group(16), {50: 1, -50: 1}), "coefficient_by_recurrence"),
        (lambda: expand_product(symplectic_group(16), {1: 1, -1: 1}), "certify=False"),
        (lambda: weyl_character(symplectic_group(14), (1,) + (0,) * 6), "beyond rank 6"),
        (lambda: expand_kernel(symplectic_group(6), symplectic_group(6)), "at most 6"),
        (lambda: expand_kernel(symplectic_group(2), symplectic_group(2), sign=2), "must be 1 or -1"),
    ],
)
def test_bad_input_is_refused_with_what_to_type(call, says):
    with pytest.raises(ValueError, match=says):
        call()
