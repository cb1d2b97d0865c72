"""Roots with a proof: a linkage that locks, a circle that touches a line, and what is refused.

python examples/25_certified_roots.py
"""

import sympy

from forerun.limits import certified_roots

# A crank of length 1 at the origin and a rod of length 1 fixed at (2, 0): they reach each other at (1, 0) alone, where
# the linkage locks. The two circles touch, so that the root is double.
x, y = sympy.symbols("x y")
linkage = [x**2 + y**2 - 1, (x - 2) ** 2 + y**2 - 1]
root = certified_roots.certify(linkage, guess=[1.05, 0.08])
print(f"locked at {[complex(round(z.real, 12), round(z.imag, 12)) for z in root.value.tolist()]}")
print(f"multiplicity {root.multiplicity}, within {root.radius:.1g}, alpha {root.alpha.alpha:.2g}")
print("Newton's steps:", ", ".join(f"{step:.0e}" for step in root.steps), "\n")

# The rod is a little too short: no double root is left, but one is near, of a linkage that differs by what is said.
short = [x**2 + y**2 - 1, (x - 2) ** 2 + y**2 - sympy.Rational(998, 1000)]
root = certified_roots.certify(short, guess=[1.05, 0.08], multiplicity=2)
for (equation, exponents), size in root.deformation.items():
    print(f"equation {equation} changed by {size.real:+.6f} (in the monomial {exponents}): locked again\n")

# Two curves that meet in one point of multiplicity three, tangent to second order.
root = certified_roots.certify(lambda x, y: [y - x**2, y - x**2 - x**3], guess=[0.05, 0.02])
print(f"multiplicity {root.multiplicity}, dimensions by order {root.hilbert_function}, alpha {root.alpha.alpha:.2g}\n")

# A double root is not certified as a simple one, and a circle that misses its line has no real root to certify.
for name, system, guess in (
    ("locked linkage", linkage, [1.05, 0.08]),
    ("x^2 + 1 from a real guess", [x**2 + 1], [0.3]),
):
    try:
        certified_roots.certify(system, guess, multiplicity=1)
    except certified_roots.NotCertified as error:
        print(f"{name}: {error}")
