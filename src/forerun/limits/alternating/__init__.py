"""Alternating: magic unitaries, squares of vectors whose rows and columns are orthonormal, as limits."""

from forerun.limits.alternating.flat_model import FlatModel, count_moment, draw_unitary, make_pauli_model
from forerun.limits.alternating.magic_unitary import AlternatingPolarMap, NotMagic, magic_unitary

__all__ = [
    "AlternatingPolarMap",
    "FlatModel",
    "NotMagic",
    "count_moment",
    "draw_unitary",
    "magic_unitary",
    "make_pauli_model",
]
