"""Numerics that know no process: trees of tensors, rows, noise that belongs to a step, and affine scans."""

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.noise import DrawnInOrder, StepNoise, mix_seed
from forerun.engine.numerics.scan import affine_scan
from forerun.engine.numerics.tree import (
    Tree,
    describe_tree,
    tree_map,
    tree_tensors,
)

__all__ = [
    "DrawnInOrder",
    "RowLayout",
    "StepNoise",
    "Tree",
    "affine_scan",
    "describe_tree",
    "mix_seed",
    "tree_map",
    "tree_tensors",
]
