"""What the networks returned on the path, shared with all ranks: each has evaluated only some of the steps."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.remaining_loop import StepRecord
from forerun.engine.backends import Backend, Distributed

Records = MutableMapping[int, StepRecord]


def share_records(records: Records, backend: Backend, device: torch.device) -> None:
    """Give all ranks the newest record of every step; its bits are the same on all of them.

    Args:
        records: of this rank, by step; those of the others come in.
        backend: that evaluated the steps.
        device: where the records belong.
    """
    if not isinstance(backend, Distributed):
        return
    if dist.get_world_size(backend.group) == 1:
        return
    owners = _find_owners(records, backend.group)
    for rank in sorted(set(owners.values())):
        steps = [step for step, owner in owners.items() if owner == rank]
        _broadcast_records(
            records,
            steps,
            rank,
            group=backend.group,
            device=device,
        )


def _find_owners(records: Records, group: Any) -> dict[int, int]:
    """Return for every step the first of the ranks that evaluated it last."""
    world_size = dist.get_world_size(group)
    rounds_by_rank: list[dict[int, int]] = [{}] * world_size
    rounds = {step: record.round for step, record in records.items()}
    dist.all_gather_object(rounds_by_rank, rounds, group=group)
    steps = sorted({step for rounds in rounds_by_rank for step in rounds})
    owners: dict[int, int] = {}
    for step in steps:
        newest = [rounds.get(step, -1) for rounds in rounds_by_rank]
        owners[step] = newest.index(max(newest))
    return owners


def _broadcast_records(
    records: Records,
    steps: list[int],
    rank: int,
    *,
    group: Any,
    device: torch.device,
) -> None:
    """Send the records of some steps from a rank to all others."""
    is_source = rank == dist.get_rank(group)
    payload: list[Any] = [None]
    if is_source:
        payload = [{step: _move_record(records[step], "cpu") for step in steps}]
    source = rank if group is None else dist.get_global_rank(group, rank)
    dist.broadcast_object_list(payload, src=source, group=group)
    if is_source:
        return
    for step, record in payload[0].items():
        records[step] = _move_record(record, device)


def _move_record(record: StepRecord, device: torch.device | str) -> StepRecord:
    def move(leaf: Tensor) -> Tensor:
        return leaf.to(device)

    sample = move(record.sample)
    outputs = pytree.tree_map_only(Tensor, move, record.outputs)
    return StepRecord(sample, outputs, record.round)
