"""Validation of what `scan` takes: its inputs and its cell, before it begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from forerun.engine.numerics.tree import Tree, describe_tree, tree_tensors
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.recurrence import slice_steps


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


@torch.no_grad()
def check_cell(cell: Cell, start: Tensor, prepared: Tree) -> None:
    """Refuse a cell that answers twice differently, by the first step of the loop."""
    inputs = slice_steps(prepared, 0, 1)
    rows = cell.step_rows(start.unsqueeze(0), inputs)
    again = cell.step_rows(start.unsqueeze(0), inputs)
    if rows.shape != (1, *start.shape):
        raise ValueError(
            f"the cell made rows {list(rows.shape[1:])} of a state {list(start.shape)}; return the next state, of the "
            "same shape"
        )
    if not torch.equal(rows, again) and not bool(rows.isnan().any()):
        raise ValueError(
            "the cell answers twice differently: it draws at random, or keeps something between its calls; call "
            "cell.eval(), or let the function take all it needs from its state and input"
        )
