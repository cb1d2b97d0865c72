"""Validation of what `scan` takes: its inputs and its cell, before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from forerun.engine.numerics.tree import Tree, describe_tree, tree_tensors


def check_inputs(h0: Tree, xs: Tree) -> int:
    """Return the number of steps; refuse inputs of unequal length."""
    if isinstance(xs, PackedSequence):
        raise TypeError(
            "xs is a PackedSequence, whose sequences end at different steps; pad them, "
            "xs, lengths = torch.nn.utils.rnn.pad_packed_sequence(xs), and read hidden[lengths - 1, range(B)]"
        )
    states = tree_tensors(h0)
    inputs = tree_tensors(xs)
    if not _have_axes(states) or not _have_axes(inputs):
        raise ValueError(
            f"h0 is {describe_tree(h0)} and xs is {describe_tree(xs)}; pass h0 (B, ...) and xs (T, B, ...), "
            "of one sequence h0.unsqueeze(0) and xs.unsqueeze(1)"
        )
    if not _have_equal_sizes(states, inputs):
        raise ValueError(
            f"xs is {describe_tree(xs)} for h0 {describe_tree(h0)}: steps or samples differ; "
            "pass xs (T, B, ...) and h0 (B, ...)"
        )
    if not len(inputs[0]):
        raise ValueError("xs has no steps; pass (T, B, ...) with T of 1 or more")
    if not _have_one_dtype([*states, *inputs]):
        raise TypeError(
            f"h0 is {describe_tree(h0)} and xs is {describe_tree(xs)}; pass one dtype and device, as h0.to(xs)"
        )
    return len(inputs[0])


def _have_axes(leaves: Sequence[Tensor]) -> bool:
    """Return whether there are tensors, and each has two axes or more."""
    return min((leaf.dim() for leaf in leaves), default=0) >= 2


def _have_equal_sizes(states: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Return whether all inputs have as many steps, and all tensors as many samples."""
    lengths = {leaf.shape[0] for leaf in inputs}
    input_samples = {leaf.shape[1] for leaf in inputs}
    state_samples = {leaf.shape[0] for leaf in states}
    return len(lengths) == 1 and input_samples == state_samples


def _have_one_dtype(leaves: Sequence[Tensor]) -> bool:
    """Return whether all tensors of floats have one dtype and device."""
    kinds = set()
    for leaf in leaves:
        if leaf.is_floating_point():
            kinds.add((leaf.dtype, leaf.device))
    return len(kinds) <= 1
