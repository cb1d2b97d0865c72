"""Watching a pipeline: every call of its networks and of its scheduler's step passes an observer.

Nothing of the pipeline is copied or replaced for good. A network gets an instance attribute `forward`, the scheduler
a subclass of its own class; leaving the watch puts both back, also after an exception.
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
from forerun.diffusion.schedulers.history import ORIGINAL

ABSENT = object()


@dataclass(frozen=True)
class PendingCall:
    """A function that a pipeline calls, and with what."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        """Call it."""
        return self.function(*self.args, **self.kwargs)


class PipelineObserver(ABC):
    """What is told of a pipeline while it runs, and may answer in its place."""

    @abstractmethod
    def call_network(self, name: str, network: nn.Module, asked: PendingCall) -> Any:
        """A network is called; the return value is its output."""

    @abstractmethod
    def step_scheduler(self, scheduler: Any, asked: PendingCall) -> Any:
        """The scheduler is stepped; the return value is what its step returns."""

    @abstractmethod
    def begin_loop(self, scheduler: Any) -> None:
        """The scheduler was given timesteps: a loop begins."""

    @abstractmethod
    def record_noising(self, noised: NoisingCall) -> None:
        """The scheduler added noise to a sample, as inpainting does."""


@contextmanager
def watch_pipeline(pipe: Any, observer: PipelineObserver) -> Iterator[None]:
    """Watch a pipeline's networks and scheduler.

    Raises:
        TypeError: there is no scheduler with a step, or no network.
    """
    components = dict(pipe.components)
    scheduler = components.get("scheduler")
    networks = {name: each for name, each in components.items() if isinstance(each, nn.Module)}
    if scheduler is None or not callable(getattr(scheduler, "step", None)):
        raise TypeError(
            f"{type(pipe).__name__} has no scheduler with a step, so there is no loop to run ahead; pass a diffusers "
            "pipeline whose components hold one, or use forerun.diffusion.sample(denoiser, scheduler, noise)"
        )
    if not networks:
        raise TypeError(f"{type(pipe).__name__} has no network among its components; load them first")
    if hasattr(type(scheduler), ORIGINAL):
        raise RuntimeError("this pipeline runs ahead already; leave the other parallel(pipe) first")
    with ExitStack() as stack:
        for name, network in networks.items():
            stack.enter_context(_watched_network(name, network, observer))
        stack.enter_context(_watched_scheduler(scheduler, observer))
        yield


@contextmanager
def _watched_network(name: str, network: nn.Module, observer: PipelineObserver) -> Iterator[None]:
    # a network compiled in place is called past its forward
    attribute = "forward" if getattr(network, "_compiled_call_impl", None) is None else "_compiled_call_impl"
    before = vars(network).get(attribute, ABSENT)
    real = getattr(network, attribute)

    @functools.wraps(real)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return observer.call_network(name, network, PendingCall(real, args, kwargs))

    vars(network)[attribute] = forward
    try:
        yield
    finally:
        if before is ABSENT:
            vars(network).pop(attribute, None)
        else:
            vars(network)[attribute] = before


@contextmanager
def _watched_scheduler(scheduler: Any, observer: PipelineObserver) -> Iterator[None]:
    kind = type(scheduler)
    scheduler.__class__ = _watched_class(kind, scheduler, observer)
    try:
        yield
    finally:
        scheduler.__class__ = kind


def _watched_class(kind: type, watched: Any, observer: PipelineObserver) -> type:
    """A subclass that tells the observer of `watched`, and of no copy of it."""

    def telling(name: str, tell: Callable[[PendingCall], Any]) -> Any:
        method = getattr(kind, name)

        @functools.wraps(method)
        def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            asked = PendingCall(functools.partial(method, self), args, kwargs)
            return tell(asked) if self is watched else asked()

        return told

    def began(asked: PendingCall) -> Any:
        result = asked()
        observer.begin_loop(watched)
        return result

    def noised(name: str, asked: PendingCall) -> Any:
        result = asked()
        given = inspect.signature(getattr(kind, name)).bind(watched, *asked.args, **asked.kwargs).arguments
        observer.record_noising(
            NoisingCall(name, {key: value for key, value in given.items() if key != "self"}, result)
        )
        return result

    tellers: dict[str, Callable[[PendingCall], Any]] = {
        "step": functools.partial(observer.step_scheduler, watched),
        "set_timesteps": began,
        "add_noise": functools.partial(noised, "add_noise"),
        "scale_noise": functools.partial(noised, "scale_noise"),
    }
    members = {name: telling(name, tell) for name, tell in tellers.items() if hasattr(kind, name)}
    return final(type(kind.__name__, (kind,), {**members, ORIGINAL: kind, "__module__": kind.__module__}))
