"""Numerics that know no process: trees of tensors, rows, noise that belongs to a step, and affine scans."""

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.noise import DrawnInOrder, StepNoise, mix_seed
from forerun.engine.numerics.rotations import GivensRotations, make_rotations, product_as_tree, product_in_order
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.tree import (
    Tree,
    describe_tree,
    tree_map,
    tree_tensors,
)

__all__ = [
    "DrawnInOrder",
    "GivensRotations",
    "RowLayout",
    "StepNoise",
    "Tree",
    "affine_scan",
    "describe_tree",
    "make_rotations",
    "mix_seed",
    "product_as_tree",
    "product_in_order",
    "tree_map",
    "tree_tensors",
]
