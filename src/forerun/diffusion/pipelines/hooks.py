"""Hooks into a pipeline: every call of its networks and of its scheduler's step passes an observer.

Nothing of the pipeline is copied or replaced for good. A network gets an instance attribute `forward`, the scheduler
a subclass of its own class; leaving the context puts both back, also after an exception.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

from torch import nn

from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.schedulers.quirks import (
    NOISE_METHODS,
    ORIGINAL_CLASS,
    has_loop,
    is_watched,
)

ABSENT = object()


@dataclass(frozen=True)
class PendingCall:
    """A call that a pipeline is about to make: a function, and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        """Make the call."""
        return self.function(*self.args, **self.kwargs)


class PipelineObserver(ABC):
    """Sees every call of a pipeline's networks and scheduler while it runs, and may answer in their place."""

    @abstractmethod
    def call_network(self, name: str, network: nn.Module, call: PendingCall) -> Any:
        """Answer a call of a network; the return value is its output."""

    @abstractmethod
    def step_scheduler(self, scheduler: Any, call: PendingCall) -> Any:
        """Answer a step of the scheduler; the return value is what its step returns."""

    @abstractmethod
    def begin_loop(self, scheduler: Any) -> None:
        """Take note that the scheduler got timesteps: a loop begins."""

    @abstractmethod
    def record_noising(self, noising: NoisingCall) -> None:
        """Take note that the scheduler added noise to a sample, as inpainting does."""


@contextmanager
def watch_pipeline(pipe: Any, observer: PipelineObserver) -> Iterator[None]:
    """Let an observer see what a pipeline does with its networks and its scheduler.

    Raises:
        TypeError: there is no scheduler with a step, or no network.
        RuntimeError: the pipeline is observed already.
    """
    components = dict(pipe.components)
    scheduler = components.get("scheduler")
    networks = {name: module for name, module in components.items() if isinstance(module, nn.Module)}
    _check_components(pipe, scheduler, networks)
    with ExitStack() as stack:
        for name, network in networks.items():
            stack.enter_context(_watch_network(name, network, observer))
        stack.enter_context(_watch_scheduler(scheduler, observer))
        yield


def _check_components(pipe: Any, scheduler: Any, networks: dict[str, nn.Module]) -> None:
    name = type(pipe).__name__
    if scheduler is None or not has_loop(scheduler):
        raise TypeError(
            f"{name} has no scheduler with a step, so it has no loop; pass a diffusers pipeline whose components hold "
            "one, or use forerun.diffusion.sample(denoiser, scheduler, noise)"
        )
    if not networks:
        raise TypeError(f"{name} has no network among its components; load them first")
    if is_watched(scheduler):
        raise RuntimeError("this pipeline runs in parallel already; leave the other parallel(pipe) first")


@contextmanager
def _watch_network(name: str, network: nn.Module, observer: PipelineObserver) -> Iterator[None]:
    attribute = "forward"
    if getattr(network, "_compiled_call_impl", None) is not None:
        attribute = "_compiled_call_impl"  # a network compiled in place is called past its forward
    attributes = vars(network)
    before = attributes.get(attribute, ABSENT)
    original = getattr(network, attribute)

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        call = PendingCall(original, args, kwargs)
        return observer.call_network(name, network, call)

    attributes[attribute] = forward
    try:
        yield
    finally:
        if before is ABSENT:
            attributes.pop(attribute, None)
        else:
            attributes[attribute] = before


@contextmanager
def _watch_scheduler(scheduler: Any, observer: PipelineObserver) -> Iterator[None]:
    kind = type(scheduler)
    scheduler.__class__ = _watched_class(kind, scheduler, observer)
    try:
        yield
    finally:
        scheduler.__class__ = kind


def _watched_class(kind: type, watched: Any, observer: PipelineObserver) -> type:
    """Return a subclass whose calls go to the observer: those of `watched`, and of no copy of it."""

    def begin_loop(call: PendingCall) -> Any:
        result = call()
        observer.begin_loop(watched)
        return result

    def add_noise(name: str, call: PendingCall) -> Any:
        result = call()
        signature = inspect.signature(getattr(kind, name))
        arguments = signature.bind(watched, *call.args, **call.kwargs).arguments
        arguments.pop("self", None)
        observer.record_noising(NoisingCall(name, arguments, result))
        return result

    handlers: dict[str, Callable[[PendingCall], Any]] = {
        "step": functools.partial(observer.step_scheduler, watched),
        "set_timesteps": begin_loop,
    }
    for name in NOISE_METHODS:
        handlers[name] = functools.partial(add_noise, name)
    members: dict[str, Any] = {ORIGINAL_CLASS: kind, "__module__": kind.__module__}
    for name, handle in handlers.items():
        if hasattr(kind, name):
            members[name] = _watched_method(getattr(kind, name), watched, handle)
    return final(type(kind.__name__, (kind,), members))


def _watched_method(
    method: Callable[..., Any],
    watched: Any,
    handle: Callable[[PendingCall], Any],
) -> Callable[..., Any]:
    """Return a method whose calls on `watched` are handled, and whose other calls are made as they are."""

    @functools.wraps(method)
    def call_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = PendingCall(functools.partial(method, self), args, kwargs)
        return handle(call) if self is watched else call()

    return call_method
