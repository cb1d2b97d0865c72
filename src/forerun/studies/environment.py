"""Where, when and with what a study was run."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

VERSIONED_LIBRARIES = ("torch", "diffusers", "numpy", "scipy")  # whose versions may change a result


def describe_environment(libraries: Sequence[str] = VERSIONED_LIBRARIES) -> dict[str, str]:
    """Return date, device, processor and versions."""
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "processor": processor_name(),
        "threads": str(torch.get_num_threads()),
        "versions": ", ".join([f"Python {platform.python_version()}", *_versions(libraries)]),
    }


def processor_name() -> str:
    """Return the name of the processor, as far as the system gives it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions(libraries: Sequence[str]) -> list[str]:
    versions = []
    for library in libraries:
        try:
            versions.append(f"{library} {version(library)}")
        except PackageNotFoundError:  # then the study did without
            continue
    return versions
