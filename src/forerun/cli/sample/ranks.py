"""Several processes for one job, started by torchrun."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from forerun.cli.kit.terminal import console, errors


def count_ranks() -> int:
    """Return the number of processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def choose_rank_device(device: str) -> str:
    """Return the device of this process: under torchrun, each of a machine has a GPU of its own.

    Raises:
        ValueError: one GPU was named for all of them.
    """
    if count_ranks() == 1 or not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise ValueError(f"--device {device} would put all processes on one GPU; under torchrun, type --device cuda")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def silence_other_ranks() -> None:
    """Let all processes but the first print nothing."""
    console.quiet = errors.quiet = int(os.environ.get("RANK", "0")) > 0


@contextmanager
def process_group(device: torch.device) -> Iterator[bool]:
    """Join the process group of a job, where there are several processes; yields whether this one writes."""
    if count_ranks() == 1:
        yield True
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def require_agreement(tensors: Sequence[Tensor], device: torch.device) -> None:
    """Make sure that all processes have the same tensors, bit by bit.

    Raises:
        RuntimeError: they have not.
    """
    if count_ranks() == 1:
        return
    digest = _digest(tensors).to(device)
    gathered = [torch.empty_like(digest) for _ in range(count_ranks())]
    dist.all_gather(gathered, digest)
    others = [str(rank) for rank, other in enumerate(gathered) if not torch.equal(other, gathered[0])]
    if others:
        raise RuntimeError(f"ranks {', '.join(others)} ended with another image than rank 0; report this")


def _digest(tensors: Sequence[Tensor]) -> Tensor:
    """Return a hash of all bytes, uint8 `(32,)`."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(bytes(tensor.cpu().contiguous().view(torch.uint8).flatten()))
    return torch.frombuffer(bytearray(sha.digest()), dtype=torch.uint8)
