"""Obstacles: where steps in parallel cannot stand for the plain loop, known before anything is evaluated."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from forerun.engine.witness import WitnessDisagrees, WitnessWarning

LIBRARIES = frozenset({"forerun", "torch"})
HALF_DTYPES = frozenset({torch.float16, torch.bfloat16})


def describe_obstacle(tensors: Sequence[Tensor]) -> str | None:
    """Say why these tensors, or the mode that torch is in, ask for the plain loop; None where nothing does."""
    if _is_transforming():
        return "a transform of torch.func, a forward derivative, or a compiler sees only the plain loop"
    for tensor in tensors:
        if not tensor.numel():
            return "there are no samples"
        if tensor.dtype in HALF_DTYPES:
            return f"in {str(tensor.dtype).removeprefix('torch.')} every step rounds, and rounds alike only in order"
        if torch.is_autocast_enabled(tensor.device.type):
            return "under autocast every step rounds to half precision, and rounds alike only in order"
    return None


def report_fallback(sentence: str, *, strict: bool) -> None:
    """Warn that the plain loop stands in, or raise where the caller asked for that.

    Raises:
        WitnessDisagrees: `strict` is set.
    """
    if strict:
        raise WitnessDisagrees(f"{sentence} Leave strict=True out for the plain loop and a warning")
    warnings.warn(sentence, WitnessWarning, stacklevel=_count_library_frames())


def _count_library_frames() -> int:
    """Return how many calls up the code of the caller is, past this package and the calls of modules in torch."""
    frame = sys._getframe(1)
    count = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in LIBRARIES:
        frame = frame.f_back
        count += 1
    return count


def _is_transforming() -> bool:
    """Return whether functions are traced, compiled or transformed, so that values cannot be looked at."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return True
    if torch.autograd.forward_ad._current_level >= 0:
        return True
    return torch._C._functorch.peek_interpreter_stack() is not None
