"""What `scan` asks of its inputs and its cell, before it begins."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from forerun.engine.numerics.tree import Tree, describe_tree, tree_tensors
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.job import part


def check_inputs(h0: Tree, xs: Tree) -> int:
    """The number of steps; refuses what is no sequence of equal length."""
    if isinstance(xs, PackedSequence):
        raise TypeError(
            "xs is a PackedSequence, whose sequences end at different steps; pad them, "
            "xs, lengths = torch.nn.utils.rnn.pad_packed_sequence(xs), and read hidden[lengths - 1, range(B)]"
        )
    states, inputs = tree_tensors(h0), tree_tensors(xs)
    if not states or not inputs or any(leaf.dim() < 2 for leaf in inputs) or any(leaf.dim() < 2 for leaf in states):
        raise ValueError(
            f"h0 is {describe_tree(h0)} and xs is {describe_tree(xs)}; pass h0 (B, ...) and xs (T, B, ...), "
            "of one sequence h0.unsqueeze(0) and xs.unsqueeze(1)"
        )
    if len({leaf.shape[0] for leaf in inputs}) > 1 or {leaf.shape[1] for leaf in inputs} != {len(s) for s in states}:
        raise ValueError(
            f"xs is {describe_tree(xs)} for h0 {describe_tree(h0)}: steps or samples differ; "
            "pass xs (T, B, ...) and h0 (B, ...)"
        )
    if not len(inputs[0]):
        raise ValueError("xs has no steps; pass (T, B, ...) with T of 1 or more")
    kinds = {(leaf.dtype, leaf.device) for leaf in (*states, *inputs) if leaf.is_floating_point()}
    if len(kinds) > 1:
        raise TypeError(
            f"h0 is {describe_tree(h0)} and xs is {describe_tree(xs)}; pass one dtype and device, as h0.to(xs)"
        )
    return len(inputs[0])


@torch.no_grad()
def check_cell(cell: Cell, start: Tensor, prepared: Tree) -> None:
    """Refuse a cell that answers twice differently; the first step of the loop tells."""
    first = part(prepared, 0, 1)
    one, other = (cell.step(start.unsqueeze(0), first) for _ in range(2))
    if one.shape != (1, *start.shape):
        raise ValueError(
            f"the cell made rows {list(one.shape[1:])} of a state {list(start.shape)}; return the next state, of the "
            "same shape"
        )
    if not torch.equal(one, other) and not bool(one.isnan().any()):
        raise ValueError(
            "the cell answers twice differently: it draws at random, or keeps something between its calls; call "
            "cell.eval(), or let the function take all it needs from its state and input"
        )
