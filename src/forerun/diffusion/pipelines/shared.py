"""What the networks returned on the path, handed to all ranks: each has only evaluated a part of the steps."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.remaining_loop import Record
from forerun.engine.backends import Backend, Distributed


def share(records: MutableMapping[int, Record], backend: Backend, device: torch.device) -> None:
    """Give all ranks the newest record of every step; its bits are the same on all of them.

    Args:
        records: of this rank, by step; those of the others come in.
        backend: that evaluated the steps.
        device: where the records belong.
    """
    if not isinstance(backend, Distributed) or dist.get_world_size(backend.group) == 1:
        return
    made: list[dict[int, int]] = [{}] * dist.get_world_size(backend.group)
    own = {step: record.made for step, record in records.items()}
    dist.all_gather_object(made, own, group=backend.group)
    owners = {step: _owner(step, made) for step in sorted({step for each in made for step in each})}
    for rank in sorted(set(owners.values())):
        mine = rank == dist.get_rank(backend.group)
        sent: list[Any] = [None]
        if mine:
            sent = [{step: _moved(records[step], "cpu") for step, owner in owners.items() if owner == rank}]
        source = rank if backend.group is None else dist.get_global_rank(backend.group, rank)
        dist.broadcast_object_list(sent, src=source, group=backend.group)
        if not mine:
            records.update({step: _moved(record, device) for step, record in sent[0].items()})


def _owner(step: int, made: list[dict[int, int]]) -> int:
    """The first of the ranks that evaluated a step last."""
    return max(range(len(made)), key=lambda rank: (made[rank].get(step, -1), -rank))


def _moved(record: Record, device: torch.device | str) -> Record:
    outputs = pytree.tree_map_only(Tensor, lambda leaf: leaf.to(device), record.outputs)
    return Record(record.sample.to(device), outputs, record.made)
