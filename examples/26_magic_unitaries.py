"""Squares of projections: a magic unitary by alternation, from vectors of your own, and the group that it generates.

python examples/26_magic_unitaries.py
"""

import torch

from forerun.limits import Plain, alternating

generator = torch.Generator().manual_seed(1)

# Sixteen vectors in four dimensions: every row and every column becomes an orthonormal basis.
square = alternating.magic_unitary(4, generator=generator)
print(f"{square.limit.evaluations} evaluations, rows and columns orthonormal to {square.defect:.0e}")
print(f"projections miss commuting by {square.commutator:.2f}; sums of a row:")
print(square.projections[0].sum(0).real.round(decimals=6) + 0.0)

# From vectors of your own: a Latin square, blurred. Plain steps end at a magic one close to it.
latin = (torch.arange(3)[:, None] - torch.arange(3)) % 3
first = torch.nn.functional.one_hot(latin, 3) + 0.2 * torch.randn(3, 3, 3, generator=generator)
near = alternating.magic_unitary(3, first=first.to(torch.complex128), method=Plain())
print(f"\nthree by three: {near.limit.evaluations} evaluations, commutators {near.commutator:.0e}\n")

# What do they generate? Moments of the number of fixed points: of all quantum permutations, or of fewer.
pauli = [alternating.make_pauli_model(alternating.draw_unitary(2, generator)) for _ in range(2)]
for name, models in (("rotations of three", [near]), ("alternated", [square]), ("Pauli", pauli)):
    print(name, [alternating.count_moment(models, order) for order in (1, 2, 3, 4)])
print("all permutations of four have 1, 2, 5, 15; all quantum permutations 1, 2, 5, 14")
