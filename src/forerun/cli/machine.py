"""What is installed and what the machine has."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import distributed

EXTRAS = {  # extra: import, distribution
    "plot": ("matplotlib", "matplotlib"),
    "digits": ("sklearn", "scikit-learn"),
    "diffusers": ("diffusers", "diffusers"),
    "mesh": ("skimage", "scikit-image"),
}


def package(name: str) -> str:
    """The version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (running from its source)"


def environment(device: torch.device) -> dict[str, str]:
    """What a timing depends on."""
    return {
        "forerun": package("forerun"),
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "processor": _name(device),
        "threads": str(torch.get_num_threads()),
    }


def installed() -> dict[str, str]:
    """Versions, and the line to type for what is missing."""
    found = {"forerun": package("forerun"), "Python": platform.python_version(), "torch": torch.__version__}
    for extra, (module, name) in EXTRAS.items():
        there = find_spec(module) is not None
        found[name] = package(name) if there else f"missing: pip install 'forerun[{extra}]'"
    return found


def hardware() -> dict[str, str]:
    """Processors, memory, GPUs, and the ways that several of them can talk."""
    found = {
        "processor": processor(),
        "cores": f"{_cores()}, of which torch uses {torch.get_num_threads()}",
        "memory": memory(),
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{properties.name}, {_gigabytes(properties.total_memory)}"
    if not torch.cuda.device_count():
        found["CUDA"] = "no device"
    found["torch.distributed"] = ", ".join(backends()) or "not in this build of torch"
    return found


def processor() -> str:
    """The processor's name, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def memory() -> str:
    """Main memory, and how much of it is free, where the system tells."""
    try:
        page, pages, free = (os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{_gigabytes(page * pages)}, {_gigabytes(page * free)} free"


def backends() -> list[str]:
    """The backends of torch.distributed that are built in."""
    if not distributed.is_available():
        return []
    built = {
        "gloo": distributed.is_gloo_available(),
        "nccl": distributed.is_nccl_available(),
        "mpi": distributed.is_mpi_available(),
        "ucc": distributed.is_ucc_available(),
    }
    return [name for name, there in built.items() if there]


def _cores() -> int:
    """Those that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({processor()})"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
