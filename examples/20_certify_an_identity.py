"""Identities with certificates: a product of factors as a sum of characters (`forerun.exact`).

python examples/20_certify_an_identity.py
"""

from fractions import Fraction

import flint
import sympy

from forerun.exact import apery, landau, learners, markoff, mathieu, rationality
from forerun.exact import characters as lie

# A product of one factor a variable, in characters of Sp(6); then a spin factor, in those of SO(7).
group = lie.symplectic_group(6)
expansion = lie.expand_product(group, {2: 1, 0: 1, -2: 1})
print(expansion)
for weight, coefficient in expansion.coefficients.items():
    print(f"  {coefficient:+d} times a representation of dimension {lie.count_dimension(group, weight)}")
print("in Sp(80):", lie.coefficient_by_recurrence(lie.symplectic_group(80), {2: 1, 0: 1, -2: 1}, (0,) * 40))

# Solutions of x^2 + y^2 + z^2 + 2xy + ... modulo 31: into how many orbits do they fall?
for parameters in ((0, 0, 0), (2, 2, 2), (-2, 5, 7)):
    surface = markoff.MarkoffSurface(31, parameters)
    orbits = markoff.find_orbits(surface)
    print(f"{parameters}: orbits of {orbits.sizes}, in {orbits.rounds} rounds; divisible by 31: {orbits.is_divisible}")

# An alternating series, 100 digits of it, and what it is made of.
total, constants = apery.BinomialSeries(2).evaluate(100), apery.silver_constants(100)
with flint.ctx.workprec(400):
    values = [total, constants["L"] ** 2, constants["pi"] ** 2, constants["log2"] ** 2]
    relation = apery.find_relation(values)
    print(f"sum (-4)^n / (n^2 C(2n, n)) = {total.str(30, radius=False)}")
    print(f"  relation {relation.coefficients}, to {relation.residual_bound:.0e}")
    excluded = apery.exclude_relations([total, *values[2:], constants["G"]])
    print(f"  no relation with level four has coefficients up to {excluded:.0e}: proven")

# A conjecture of 1997 that fails: powers of F integrate to zero over SU(2), and those times G do not end.
a, b, c, d = mathieu.coordinate_functions()
moments = mathieu.list_moments((1 + c) * (a * d + b), -c, powers=30)
print(f"all zero: {moments.is_null}; with G:", *moments.paired[:6], "...")

# Two layers of one weight, trained by steps of gradient descent in rationals: what do they keep?
layers = learners.scale_learner(Fraction(2), Fraction(1, 10)).then(learners.scale_learner(Fraction(1), Fraction(1, 10)))
moves = [(layers.parameters, (Fraction(1), Fraction(3)))]
balance = learners.search_violation(learners.machine_of_learner(layers), lambda p: p[0] ** 2 - p[1] ** 2 == 3, moves)
print(f"v^2 - w^2 = 3 is kept: {balance.value}; from (2, 1) it goes to", *balance.counterexample[2])
print("the simplex, for mirror descent, is", learners.prove_invariant(*learners.mirror_descent(4)))

# Surfaces in space, degenerated along a subdivision of their polytope: which are not stably rational?
for degree in (3, 4, 5):
    points = rationality.simplex_points(3, degree)
    subdivision = rationality.subdivide_polytope(points, rationality.quadratic_heights(points))
    print(f"degree {degree}: {rationality.degeneration_sum(subdivision)}")

# Where can the one-loop bubble of two masses be singular?
mass_1, mass_2, momentum = sympy.symbols("m1 m2 s")
bubble = landau.find_determinant(landau.banana_graph([mass_1, mass_2], momentum))
print("the bubble:", *bubble.value, sep="\n  ")
