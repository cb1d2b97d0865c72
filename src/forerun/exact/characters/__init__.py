"""Characters of the classical groups: Weyl characters, and products of one factor a variable expanded in them."""

from forerun.exact.characters.dual_pairs import DualPair, expand_kernel
from forerun.exact.characters.expansion import (
    CharacterExpansion,
    coefficient_by_determinant,
    coefficient_by_recurrence,
    expand_product,
    find_period,
    multiply_spin,
)
from forerun.exact.characters.groups import (
    ClassicalGroup,
    list_groups,
    orthogonal_group,
    special_orthogonal_group,
    symplectic_group,
)
from forerun.exact.characters.weyl import count_dimension, multiply_characters, weyl_character

__all__ = [
    "CharacterExpansion",
    "ClassicalGroup",
    "DualPair",
    "coefficient_by_determinant",
    "coefficient_by_recurrence",
    "count_dimension",
    "expand_kernel",
    "expand_product",
    "find_period",
    "list_groups",
    "multiply_characters",
    "multiply_spin",
    "orthogonal_group",
    "special_orthogonal_group",
    "symplectic_group",
    "weyl_character",
]
