"""The replica of a cell: its rows for many steps together, held against the user's own cell on single steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, describe_tree, tree_map, tree_tensors
from forerun.engine.rows import apply_slopes
from forerun.engine.witness import Witness, describe_difference
from forerun.sequence.recurrent.cells import Cell, restore_structure
from forerun.sequence.recurrent.plain_loop import PlainLoop
from forerun.sequence.recurrent.torch_cells import adapt_cell
from forerun.sequence.recurrent.user_cell import list_tensors, read_versions

STATEFUL_ADVICE = (
    "the cell answers twice differently: it draws at random, or keeps something between its calls; call "
    "cell.eval(), or let the function take all it needs from its state and input"
)


class CellReplicaRefused(Exception):
    """Says why many steps of a cell cannot be evaluated together; the plain loop is taken."""


@dataclass(frozen=True)
class FirstStep:
    """What the user's own cell did on the first step.

    Attributes:
        output: the next state, without its gradient.
        requires_grad: whether it depends on something that requires a gradient.
        changes_input: whether the cell changed its state or input in place.
    """

    output: Tree
    requires_grad: bool
    changes_input: bool


def take_first_step(loop: PlainLoop) -> FirstStep:
    """Return what the user's own cell does on the first step; it is called twice, with copies.

    Raises:
        ValueError: it answers twice differently, keeps something between its calls, or returns another shape.
    """
    state = _copy_tree(loop.h0)
    x = _copy_tree(loop.select_input(0))
    versions = read_versions((state, x))
    buffers = _buffer_versions(loop)
    result = loop.step(state, x)
    changes_input = read_versions((state, x)) != versions
    _check_buffers(loop, buffers)
    again = loop.step(_copy_tree(loop.h0), _copy_tree(loop.select_input(0)))
    again = restore_structure(again, loop.layout)
    result = restore_structure(result, loop.layout)
    _check_shapes(loop.h0, result)
    _check_repetition(result, again)
    return FirstStep(
        output=tree_map(torch.Tensor.detach, result),
        requires_grad=any(leaf.requires_grad for leaf in tree_tensors(result)),
        changes_input=changes_input,
    )


def prepare_replica(cell: Any, loop: PlainLoop, first: FirstStep, witness: Witness | None) -> Cell:
    """Return the cell for rows, after one step of it.

    Raises:
        CellReplicaRefused: it cannot stand for the user's own cell.
    """
    if first.changes_input:
        raise CellReplicaRefused("the cell changes its state or input in place")
    dtypes = [leaf.dtype for leaf in tree_tensors(first.output)]
    if dtypes != list(loop.layout.dtypes):
        raise CellReplicaRefused(f"the cell makes {describe_tree(first.output)} of {describe_tree(loop.h0)}")
    if isinstance(cell, Cell):
        return cell
    assert loop.user_cell is not None, "a cell that is not a Cell is the user's own"
    hooks = loop.user_cell.describe_hooks()
    if hooks is not None:
        raise CellReplicaRefused(hooks)
    replica = adapt_cell(loop.user_cell, loop.layout)
    output = _try_step(replica, loop)
    if witness is not None:
        difference = describe_difference(
            tree_tensors(first.output),
            tree_tensors(output),
            roundings=witness.roundings,
        )
        if difference is not None:
            raise CellReplicaRefused(f"the cell gives another state than its replica at step 0: {difference}")
    return replica


def describe_gradient_difference(
    loop: PlainLoop,
    replica: Cell,
    row: Tensor,
    *,
    step: int,
    witness: Witness,
) -> str | None:
    """Say how the gradients of one step differ between the user's own cell and the replica; None where they agree.

    A fixed cotangent is pulled back to state and input through both, and to the state by the replica's Jacobian, which
    takes every sample by itself.

    Args:
        loop: over the user's own cell.
        replica: its rows, of the same inputs.
        row: the state of the step, `(B, D)`.
        step: its index.
        witness: how far the gradients may differ.
    """
    inputs = tree_map(lambda leaf: leaf.detach().unsqueeze(0), loop.select_input(step))
    cotangent = _spread_cotangent(row)

    def step_alone(rows: Tensor, x: Tree) -> Tensor:
        single = tree_map(lambda leaf: leaf[0], x)
        state = loop.layout.unpack(rows[0])
        result = restore_structure(loop.step(state, single), loop.layout)
        return loop.layout.pack(result).unsqueeze(0)

    user_gradients = _pull_back(step_alone, row, inputs, cotangent)
    try:
        replica_gradients = _pull_back(replica.step_rows, row, inputs, cotangent)
        by_jacobian = _apply_jacobian(replica, row, inputs, cotangent)
    except Exception as error:  # of whatever kind the cell makes functorch raise
        return f"the gradient of many steps of the cell cannot be taken together ({_first_line(error)})"
    difference = describe_difference(user_gradients, replica_gradients, roundings=witness.roundings)
    if difference is not None:
        return f"its gradient at step {step} is another than its replica's: {difference}"
    difference = describe_difference(user_gradients[0], by_jacobian, roundings=witness.roundings)
    if difference is not None:
        return (
            f"its derivative at step {step} is not that of every sample by itself ({difference}): samples act on each "
            "other, or its backward pass is not the derivative of its forward pass"
        )
    return None


def _pull_back(step: Any, row: Tensor, inputs: Tree, cotangent: Tensor) -> list[Tensor]:
    """Return the gradients of one step by its state and by its inputs of floats."""
    with torch.enable_grad():
        rows = row.detach().unsqueeze(0).requires_grad_()
        x = tree_map(_require_gradient, inputs)
        leaves = [rows, *_select_floats(x)]
        result = step(rows, x)
        if not result.requires_grad:
            return [torch.zeros_like(leaf) for leaf in leaves]
        return list(
            torch.autograd.grad(
                result,
                leaves,
                cotangent.unsqueeze(0),
                allow_unused=True,
                materialize_grads=True,
            )
        )


@torch.no_grad()
def _apply_jacobian(
    replica: Cell,
    row: Tensor,
    inputs: Tree,
    cotangent: Tensor,
) -> Tensor:
    """Return the gradient by the state that the replica's Jacobian gives, `(1, B, D)`."""
    J = replica.step_with_jacobian(row.detach().unsqueeze(0), inputs)[1]
    return apply_slopes(J.mT, cotangent.unsqueeze(0))


def _require_gradient(leaf: Tensor) -> Tensor:
    """Return a copy of a tensor, which requires a gradient where it holds floats."""
    copy = leaf.detach().clone()
    return copy.requires_grad_(copy.is_floating_point())


def _select_floats(tree: Tree) -> list[Tensor]:
    return [leaf for leaf in tree_tensors(tree) if leaf.requires_grad]


def _spread_cotangent(row: Tensor) -> Tensor:
    """Return numbers that differ from element to element, without drawing any."""
    places = torch.arange(1, row.numel() + 1, dtype=row.dtype, device=row.device)
    return torch.sin(12.9898 * places).reshape(row.shape)


@torch.no_grad()
def _try_step(replica: Cell, loop: PlainLoop) -> Tree:
    """Return what the replica makes of the first step.

    Raises:
        CellReplicaRefused: it raised, where the user's own cell did not.
    """
    row = loop.layout.pack(loop.h0).detach().unsqueeze(0)
    inputs = tree_map(lambda leaf: leaf.detach().unsqueeze(0), loop.select_input(0))
    try:
        prepared = replica.prepare_inputs(inputs)
        next_row = replica.step_with_jacobian(row, prepared)[0]
    except Exception as error:
        raise CellReplicaRefused(
            f"many steps of the cell cannot be evaluated together ({_first_line(error)})"
        ) from error
    return loop.layout.unpack(next_row[0])


def _first_line(error: Exception) -> str:
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    return lines[0][:200]


def _copy_tree(tree: Tree) -> Tree:
    return tree_map(lambda leaf: leaf.detach().clone(), tree)


def _check_repetition(result: Tree, again: Tree) -> None:
    """Refuse a cell that answers twice differently; where it gives nan nothing can be said."""
    leaves = tree_tensors(result)
    others = tree_tensors(again)
    for leaf, other in zip(leaves, others, strict=True):
        if torch.equal(leaf, other) or bool(leaf.isnan().any()):
            continue
        raise ValueError(STATEFUL_ADVICE)


def _check_shapes(h0: Tree, result: Tree) -> None:
    expected = [leaf.shape for leaf in tree_tensors(h0)]
    if [leaf.shape for leaf in tree_tensors(result)] != expected:
        raise ValueError(
            f"the cell made {describe_tree(result)} of a state {describe_tree(h0)}; return the next state, of the "
            "same shape"
        )


def _buffer_versions(loop: PlainLoop) -> dict[str, int]:
    if loop.user_cell is None:
        return {}
    versions = {}
    for module in loop.user_cell.list_modules():
        for name, tensor in list_tensors(module):
            versions[name] = sum(read_versions(tensor))
    return versions


def _check_buffers(loop: PlainLoop, versions: dict[str, int]) -> None:
    """Refuse a cell whose parameters or buffers were changed by its call."""
    changed = [name for name, version in _buffer_versions(loop).items() if versions.get(name) != version]
    if changed:
        raise ValueError(f"a call of the cell changes its {changed[0]}, and {STATEFUL_ADVICE}")
