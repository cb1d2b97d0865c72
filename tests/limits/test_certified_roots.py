"""Certified roots: multiplicities one to five, proofs in balls, and refusals with their alpha."""

import flint
import pytest
import sympy
import torch

from forerun.engine.certificates.alpha_test import ALPHA_THRESHOLD
from forerun.engine.testing import check_map
from forerun.limits.certified_roots import (
    LeastSquaresStep,
    NewtonStep,
    NoIsolatedRoot,
    NotCertified,
    PolynomialSystem,
    UnknownAlgebra,
    certify,
    find_dual_space,
)
from forerun.limits.certified_roots.alpha_balls import measure_alpha

ROOT3 = 3**0.5


def caprasse(x, y, z, t):
    return [
        y**2 * z + 2 * x * y * t - 2 * x - z,
        -(x**3) * z + 4 * x * y**2 * z + 4 * x**2 * y * t + 2 * y**3 * t
        + 4 * x**2 - 10 * y**2 + 4 * x * z - 10 * y * t + 2,
        2 * y * z * t + x * t**2 - x - 2 * z,
        -x * z**3 + 4 * y * z**2 * t + 4 * x * z * t**2 + 2 * y * t**3
        + 4 * x * z + 4 * z**2 - 10 * y * t - 10 * t**2 + 2,
    ]  # fmt: skip


# name: system, guess, root, Hilbert function
ROOTS = {
    "simple": (lambda x, y: [x**2 + y**2 - 5, x * y - 2], [1.1, 1.9], [1, 2], (1,)),
    "more equations than unknowns": (lambda x, y: [x**2 + y**2 - 5, x * y - 2, x - 1], [1.1, 1.9], [1, 2], (1,)),
    "circle and hyperbola": (lambda x, y: [x**2 + y**2 - 2, x * y - 1], [1.02, 0.97], [1, 1], (1, 1)),
    "complex": (lambda x: [(x**2 + 1) ** 2], [0.02 + 0.98j], [1j], (1, 1)),
    "triple": (lambda x: [(x - 1) ** 3 * (x + 2)], [1.02], [1], (1, 1, 1)),
    "Ojika": (lambda x, y: [x**2 + y - 3, x + y**2 / 8 - sympy.Rational(3, 2)], [1.02, 2.03], [1, 2], (1, 1, 1)),
    "three variables": (
        lambda x, y, z: [x**3 + y * z, y - x**2 + z * x, z**2 + z - x * y], [0.02, 0.01, 0.01], [0, 0, 0], (1, 1, 1)
    ),
    "fourfold": (lambda x: [(x - 1) ** 4 * (x + 2)], [1.02], [1], (1, 1, 1, 1)),
    "fivefold": (lambda x: [x**5], [0.01], [0], (1, 1, 1, 1, 1)),
    "plane": (lambda x, y: [x**2, x * y, y**2], [0.02, 0.01], [0, 0], (1, 2)),
    "two parabolas": (lambda x, y: [x**2 + x * y * y, y**2 - x**3], [0.02, 0.01], [0, 0], (1, 2, 1)),
    "not a complete intersection": (lambda x, y: [x**3, x * y, y**2], [0.02, 0.01], [0, 0], (1, 2, 1)),
    "space": (
        lambda x, y, z: [x**2, y**2, z**2, x * y + x**2 * z, x * z, y * z], [0.01, 0.02, 0.01], [0, 0, 0], (1, 3)
    ),
    "Caprasse": (caprasse, [2.02, -1j * ROOT3 + 0.02, 2, 1j * ROOT3], [2, -1j * ROOT3, 2, 1j * ROOT3], (1, 2, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("is_multiplicity_passed", [False, True])
def test_roots_are_certified_with_their_structure(name, is_multiplicity_passed):
    system, guess, truth, shape = ROOTS[name]
    root = certify(system, guess, sum(shape) if is_multiplicity_passed else None)
    assert root.hilbert_function == shape
    assert root.multiplicity == sum(shape)
    assert root.alpha.alpha < ALPHA_THRESHOLD
    expected = torch.tensor(truth, dtype=torch.complex128)
    assert float((root.value - expected).abs().max()) <= root.radius + 1e-15
    assert root.radius < 1e-12
    assert root.deformation_bound < 1e-12
    assert len(root.deformation) == root.multiplicity * len(system(*guess)) - len(root.limit.state) + len(
        root.deformation
    )


@pytest.mark.parametrize("name", ["circle and hyperbola", "Ojika", "Caprasse"])
def test_steps_are_quadratic_where_those_on_the_equations_are_not(name):
    system, guess, _, _ = ROOTS[name]
    root = certify(system, guess)
    first, second = root.steps[:2]
    assert second < 1e3 * first**2 + 1e-14
    with pytest.raises(NotCertified) as caught:
        certify(system, guess, 1)
    assert caught.value.root.alpha.alpha > ALPHA_THRESHOLD


def test_a_system_nearby_is_certified_with_its_deformation():
    root = certify(lambda x, y: [x**2 + y**2 - 2 + 1e-6, x * y - 1], [1.02, 0.97], 2)
    assert root.multiplicity == 2
    assert 1e-7 < root.deformation_bound < 1e-5
    # with the deformation added, the discriminant vanishes: a double root, exactly
    ((equation, exponents), size), *more = root.deformation.items()
    assert not more
    assert exponents == (0, 0)
    offsets = [0.0, 0.0]
    offsets[equation] = size.real
    # x^2 + y^2 = a and x y = b have a double root where a = 2 b
    assert 2 - 1e-6 - offsets[0] == pytest.approx(2 * (1 - offsets[1]), abs=1e-13)


def test_alpha_is_an_upper_bound_of_the_known_one():
    # for x^2 - 2: beta = |x^2 - 2| / |2 x|, gamma = 1 / |2 x|
    system = PolynomialSystem.from_user(lambda x: [x**2 - 2], 1)
    for x in (1.5, 1.4142, 3.0, 1.0):
        alpha = measure_alpha(system, torch.tensor([x], dtype=torch.complex128))
        expected = abs(x * x - 2) / abs(2 * x) / abs(2 * x)
        assert expected <= alpha.alpha <= expected * (1 + 1e-9)
        assert alpha.holds == (expected < ALPHA_THRESHOLD)
    singular = measure_alpha(system, torch.zeros(1, dtype=torch.complex128))
    assert singular.alpha == float("inf")
    assert not singular.holds


def test_the_ball_contains_the_root_that_arb_isolates():
    coefficients = [-7, 3, 0, 2, 1]
    (truth,) = (root for root, _ in flint.fmpz_poly(coefficients).complex_roots() if complex(root).imag > 0.5)
    guess = complex(truth) + 0.01
    root = certify(lambda x: [x**4 + 2 * x**3 + 3 * x - 7], [guess])
    assert abs(complex(root.value[0]) - complex(truth)) <= root.radius + 1e-15


def test_expressions_of_sympy_and_functions_are_read_alike():
    x, y = sympy.symbols("x y")
    guess = [1.02, 0.97]
    first, second = certify([x**2 + y**2 - 2, x * y - 1], guess), certify(ROOTS["circle and hyperbola"][0], guess)
    assert torch.equal(first.value, second.value)
    assert certify([0.1 * x - 0.3], [2.0]).value.item() == 3  # decimals are read as they are written


def test_derivatives_and_dual_spaces_are_those_of_sympy():
    x, y = sympy.symbols("x y")
    expressions = [x**3 * y - 2 * x + 1, (x + sympy.I * y) ** 2 - y**4]
    system = PolynomialSystem.from_user(expressions, 2)
    point = torch.tensor([0.3 + 0.2j, -1.1 + 0.5j], dtype=torch.complex128)
    places = dict(zip((x, y), point.tolist(), strict=True))
    jacobian = system.evaluate_jacobian(point)
    for row, expression in enumerate(expressions):
        for column, symbol in enumerate((x, y)):
            expected = complex(expression.diff(symbol).subs(places))
            assert complex(jacobian[row, column]) == pytest.approx(expected)
    (taylor,) = PolynomialSystem.from_user([*expressions[:1], y], 2).expand_around([flint.acb(2), flint.acb(3)])[:1]
    assert complex(taylor[2, 1]) == 6
    dual = find_dual_space(PolynomialSystem.from_user([x**2, y**2], 2), torch.zeros(2, dtype=torch.complex128), None)
    assert dual.hilbert_function == (1, 2, 1)
    assert float(dual.read_column((1, 1)).norm()) == pytest.approx(1)


def test_the_steps_are_maps():
    system = PolynomialSystem.from_user(ROOTS["simple"][0], 2)
    point = torch.view_as_real(torch.tensor([1.1, 1.9], dtype=torch.complex128))
    check_map(NewtonStep(system), point)
    check_map(LeastSquaresStep(system), point)


@pytest.mark.parametrize(
    "system, guess, multiplicity, error, says",
    [
        (lambda x, y: [x * y, x * y], [0.01, 0.3], None, NoIsolatedRoot, "not isolated"),
        (lambda x, y: [x**2 + y**2 - 2, x * y - 1], [1.0, 1.0], 3, NoIsolatedRoot, "ends at the dimension 2"),
        (lambda x, y: [x**2, y**3], [0.0, 0.0], None, UnknownAlgebra, r"\(1, 2, 2, 1\)"),
        (lambda x: [sympy.sin(x)], [0.1], None, ValueError, "not a polynomial"),
        (lambda x: [sympy.sqrt(2) * x], [0.1], None, ValueError, "not rational"),
        (lambda x, y: [x + y], [0.0, 0.0], None, ValueError, "1 equations in 2 variables"),
        (lambda x: [x], [float("nan")], None, ValueError, "finite numbers"),
        (lambda x: [x**2 + 1], [0.1], 1, NotCertified, "alpha is"),
    ],
)
def test_what_cannot_be_certified_is_refused(system, guess, multiplicity, error, says):
    with pytest.raises(error, match=says):
        certify(system, guess, multiplicity)
