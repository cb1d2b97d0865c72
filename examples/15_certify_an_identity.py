"""Identities with certificates: a product of factors as a sum of characters (`forerun.exact`).

python examples/15_certify_an_identity.py
"""

from forerun.exact import characters as lie

# A product of one factor a variable, in characters of Sp(6); then a spin factor, in those of SO(7).
group = lie.symplectic_group(6)
expansion = lie.expand_product(group, {2: 1, 0: 1, -2: 1})
print(expansion)
for weight, coefficient in expansion.coefficients.items():
    print(f"  {coefficient:+d} times a representation of dimension {lie.count_dimension(group, weight)}")
print("in Sp(80):", lie.coefficient_by_recurrence(lie.symplectic_group(80), {2: 1, 0: 1, -2: 1}, (0,) * 40))
