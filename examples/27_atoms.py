"""Atoms: an iron atom, an ion of it, and a well of one's own.

python examples/27_atoms.py
"""

from forerun.physics.atoms import solve_atom, solve_levels

# Kohn-Sham equations of an atom: the potential of its electrons is the limit of a map.
iron = solve_atom(26)
print(f"iron: {iron.energy:.6f} Ha, give or take {iron.error_estimate:.0e}, in {iron.evaluations} evaluations")
print({name: round(level, 4) for name, level in iron.levels.items()})

# Other electrons: twice ionised.
ion = solve_atom(26, configuration="[Ar] 3d6")
print(f"Fe2+ lies {ion.energy - iron.energy:.4f} Ha above it")

# One particle in a potential of one's own: here a harmonic well, with levels 3/2, 7/2, 11/2.
well = solve_levels(lambda radii: radii**2 / 2, angular=0, count=3)
print(f"harmonic well: {well.energies.tolist()}, give or take {float(well.error_estimates.max()):.0e}")
