"""The process group of a distributed run: joined from torchrun's environment, and the device that it sends from."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist

if dist.is_available():
    # Its defaults keep the group that there is when it is first imported, as torch.compile does sooner or later: such a
    # group outlives `destroy_process_group`, and its threads may abort a process that ends. So: while there is none.
    import torch.distributed.nn.functional  # noqa: F401

LAUNCH_COMMAND: Final = "torchrun --nproc-per-node 4 script.py"
TORCHRUN_VARIABLES: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def join_process_group(device: torch.device, timeout: float | None) -> None:
    """Make sure that there is a process group, from torchrun's environment if need be."""
    if not dist.is_available():
        raise RuntimeError("this build of torch has no torch.distributed; install one that has, or use backend=Local()")
    if dist.is_initialized():
        return
    missing = [name for name in TORCHRUN_VARIABLES if name not in os.environ]
    if missing:
        raise RuntimeError(
            f"Distributed() found no process group, and {', '.join(missing)} not set in the environment. Start the "
            f"script with `{LAUNCH_COMMAND}`, call torch.distributed.init_process_group(...) first, or use "
            "backend=Local()"
        )
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=as_timedelta(timeout))


def as_timedelta(seconds: float | None) -> timedelta | None:
    """Return seconds as torch.distributed takes them; None for its default."""
    if seconds is None:
        return None
    return timedelta(seconds=seconds)


def choose_wire_device(group: dist.ProcessGroup | None, device: torch.device) -> torch.device:
    """Return where messages must lie: on the inputs' device, or on the CPU where only gloo would carry them."""
    config = dist.get_backend_config(group)
    carriers = {device.type: config}
    if ":" in config:  # such as "cpu:gloo,cuda:nccl"
        carriers = dict(entry.split(":", 1) for entry in config.split(","))
    if carriers.get(device.type, "gloo") != "gloo":
        return device
    if "gloo" in carriers.values():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
