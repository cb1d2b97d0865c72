"""Several processes for one job, started by torchrun."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from forerun.cli.terminal import console, errors


def count() -> int:
    """Processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def place(device: str) -> str:
    """The device of this process: under torchrun, each of a machine has a GPU of its own.

    Raises:
        ValueError: one GPU was named for all of them.
    """
    if count() == 1 or not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise ValueError(f"--device {device} would put all processes on one GPU; under torchrun, type --device cuda")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def hush() -> None:
    """All processes but the first print nothing."""
    console.quiet = errors.quiet = int(os.environ.get("RANK", "0")) > 0


@contextmanager
def together(device: torch.device) -> Iterator[bool]:
    """The process group of a job, where there are several processes; whether this is the one that writes."""
    if count() == 1:
        yield True
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def agree(tensors: Sequence[Tensor], device: torch.device) -> None:
    """Make sure that all processes have the same, bit by bit.

    Raises:
        RuntimeError: they have not.
    """
    if count() == 1:
        return
    digest = hashlib.sha256(b"".join(bytes(each.cpu().contiguous().view(torch.uint8).flatten()) for each in tensors))
    own = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).to(device)
    found = [torch.empty_like(own) for _ in range(count())]
    dist.all_gather(found, own)
    others = [rank for rank, each in enumerate(found) if not torch.equal(each, found[0])]
    if others:
        raise RuntimeError(f"ranks {', '.join(map(str, others))} ended with another image than rank 0; report this")
