"""The machine and its software: versions, processors, memory, GPUs."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import distributed

EXTRA_PACKAGES = {  # extra: import, distribution
    "plot": ("matplotlib", "matplotlib"),
    "digits": ("sklearn", "scikit-learn"),
    "diffusers": ("diffusers", "diffusers"),
    "mesh": ("skimage", "scikit-image"),
}


def package_version(name: str) -> str:
    """Return the version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (running from its source)"


def timing_facts(device: torch.device) -> dict[str, str]:
    """Return what a timing depends on."""
    return {
        "forerun": package_version("forerun"),
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "processor": device_name(device),
        "threads": str(torch.get_num_threads()),
    }


def machine_line(facts: dict[str, str]) -> str:
    """Return the facts of a timing as the line that commands print first."""
    return f"torch {facts['torch']}, {facts['threads']} thread(s), {facts['processor']}"


def installed_packages() -> dict[str, str]:
    """Return versions, and the line to type for what is missing."""
    versions = {
        "forerun": package_version("forerun"),
        "Python": platform.python_version(),
        "torch": torch.__version__,
    }
    for extra, (module, name) in EXTRA_PACKAGES.items():
        if find_spec(module) is None:
            versions[name] = f"missing: pip install 'forerun[{extra}]'"
        else:
            versions[name] = package_version(name)
    return versions


def hardware_facts() -> dict[str, str]:
    """Return processors, memory, GPUs, and the ways that several of them can talk."""
    facts = {
        "processor": processor_name(),
        "cores": f"{count_cores()}, of which torch uses {torch.get_num_threads()}",
        "memory": memory_size(),
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        facts[f"cuda:{index}"] = f"{properties.name}, {format_bytes(properties.total_memory)}"
    if not torch.cuda.device_count():
        facts["CUDA"] = "no device"
    facts["torch.distributed"] = ", ".join(distributed_backends()) or "not in this build of torch"
    return facts


def processor_name() -> str:
    """Return the processor's name, as far as the system reports it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Return the name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({processor_name()})"


def memory_size() -> str:
    """Return main memory, and how much of it is free, where the system reports it."""
    try:
        page, pages, free = (os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{format_bytes(page * pages)}, {format_bytes(page * free)} free"


def distributed_backends() -> list[str]:
    """Return the backends of torch.distributed that are built in."""
    if not distributed.is_available():
        return []
    is_built = {
        "gloo": distributed.is_gloo_available(),
        "nccl": distributed.is_nccl_available(),
        "mpi": distributed.is_mpi_available(),
        "ucc": distributed.is_ucc_available(),
    }
    return [name for name, available in is_built.items() if available]


def count_cores() -> int:
    """Return the cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def format_bytes(size: int) -> str:
    """Return bytes in GiB."""
    return f"{size / 2**30:.1f} GiB"
