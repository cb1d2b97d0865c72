"""Autocast around a solve: the user's functions see it, as in the user's own loop; the engine's arithmetic does not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

AUTOCAST_DEVICES: Final = ("cpu", "cuda", "xpu", "mps")


class HiddenAutocast(threading.local):
    """The autocasts that are switched off while the engine works in this thread, one tuple a nested solve."""

    def __init__(self) -> None:
        self.frames: list[tuple[tuple[str, torch.dtype], ...]] = []


HIDDEN_AUTOCAST: Final = HiddenAutocast()


def in_plain_arithmetic(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of the engine work without gradients and without the caller's autocast."""

    @wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        enabled = _list_autocasts()
        HIDDEN_AUTOCAST.frames.append(enabled)
        try:
            with torch.no_grad(), switch_autocast(enabled, on=False):
                return function(*arguments, **keywords)
        finally:
            HIDDEN_AUTOCAST.frames.pop()

    return call


def hides_autocast() -> bool:
    """Return whether the caller of the engine works under autocast, which is switched off now."""
    frames = HIDDEN_AUTOCAST.frames
    return bool(frames) and bool(frames[-1])


def call_as_user(function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Call a function of the user's as the user's own loop does: under autocast, where the loop is."""
    if not hides_autocast():
        return function(*arguments, **keywords)
    with switch_autocast(HIDDEN_AUTOCAST.frames[-1], on=True):
        return function(*arguments, **keywords)


def carry_modes() -> Callable[..., Any]:
    """Return a function that calls another in any thread, with the gradients and the autocast of this thread."""
    frames, autocasts = list(HIDDEN_AUTOCAST.frames), _list_autocasts()
    has_gradients, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def call(function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
        HIDDEN_AUTOCAST.frames = frames
        try:
            with (
                torch.inference_mode(is_inference),
                torch.set_grad_enabled(has_gradients),
                switch_autocast(autocasts, on=True),
            ):
                return function(*arguments, **keywords)
        finally:
            HIDDEN_AUTOCAST.frames = []

    return call


def _list_autocasts() -> tuple[tuple[str, torch.dtype], ...]:
    """Return the devices for which autocast is on in this thread, with its dtypes."""
    return tuple(
        (device, torch.get_autocast_dtype(device)) for device in AUTOCAST_DEVICES if torch.is_autocast_enabled(device)
    )


def switch_autocast(devices: tuple[tuple[str, torch.dtype], ...], *, on: bool) -> ExitStack:
    """Return a context in which autocast is on, or off, for some devices."""
    stack = ExitStack()
    for device, dtype in devices:
        stack.enter_context(torch.autocast(device, dtype=dtype, enabled=on))
    return stack
