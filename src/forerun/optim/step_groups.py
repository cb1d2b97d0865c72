"""Steps in groups whose data have the same shapes: the last batch of an epoch may be smaller than the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree
from forerun.optim.gradient_batch import GradientBatch, join_batches
from forerun.optim.loss_task import LossTask


@dataclass(frozen=True)
class StepGroup:
    """Steps whose data can be stacked.

    Attributes:
        positions: where the steps stand among all of the round.
        data: what the loss is given after the step, each leaf with a leading axis of steps.
    """

    positions: list[int]
    data: tuple[Tree, ...]


GroupFunction = Callable[[LossTask, Tensor, Sequence[Tensor], tuple[Tree, ...]], GradientBatch]


def compute_by_group(
    compute_group: GroupFunction, task: LossTask, steps: Tensor, tensors: Sequence[Tensor]
) -> GradientBatch:
    """Return the gradients of steps `(W,)` at parameters `(W, *shape)`, computed group by group.

    Args:
        compute_group: computes the gradients of steps whose data are of the same shapes, handed to it last.
        task: the loss.
        steps: the steps.
        tensors: the parameters of every step.
    """
    groups = group_steps(task, steps)
    if len(groups) == 1:
        return compute_group(task, steps, tensors, groups[0].data)
    batches = []
    for group in groups:
        rows = [tensor[group.positions] for tensor in tensors]
        batches.append(compute_group(task, steps[group.positions], rows, group.data))
    return join_groups(groups, batches)


def group_steps(task: LossTask, steps: Tensor) -> list[StepGroup]:
    """Return the steps `(W,)` in groups, the data of every step drawn with its seed."""
    if task.data is None:
        return [StepGroup(list(range(len(steps))), ())]
    positions_by_shape: dict[Any, list[int]] = {}
    data_of_steps = []
    for position, step in enumerate(steps.tolist()):
        with task.step_data(step) as data:
            data_of_steps.append(data)
        positions_by_shape.setdefault(_describe_shapes(data), []).append(position)

    def stack_leaves(*leaves: Any) -> Tensor:
        if isinstance(leaves[0], Tensor):
            return torch.stack(leaves)
        return torch.tensor(leaves, device=steps.device)

    groups = []
    for positions in positions_by_shape.values():
        group_data = [data_of_steps[position] for position in positions]
        groups.append(StepGroup(positions, pytree.tree_map(stack_leaves, *group_data)))
    return groups


def join_groups(groups: Sequence[StepGroup], batches: Sequence[GradientBatch]) -> GradientBatch:
    """Return the gradients of all groups in the order of their steps."""
    joined = join_batches(batches)
    positions = [position for group in groups for position in group.positions]
    order = torch.tensor(positions).argsort().to(joined.losses.device)
    return GradientBatch(
        gradients=[gradient[order] for gradient in joined.gradients],
        losses=joined.losses[order],
        used=joined.used[order],
    )


def _describe_shapes(data: Tree) -> tuple[Any, ...]:
    """Return what must agree for data to be stacked: the tree, and the shape of every tensor."""
    leaves, spec = pytree.tree_flatten(data)
    shapes = [tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf) for leaf in leaves]
    return str(spec), *shapes
