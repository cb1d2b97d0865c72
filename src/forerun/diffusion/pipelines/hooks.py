"""Hooks into a pipeline: every call of its networks and of its scheduler's step passes an observer.

Nothing of the pipeline is copied or replaced for good. A network's `forward` and the scheduler's methods become
instance attributes (`watched_method`); leaving the context puts all back, also after an exception, in whichever order
contexts are left. A scheduler that is set within the context is followed, and so are hooks that are set or removed.

A network may be shared by pipelines that run in several contexts or threads. Its calls belong to the context whose
scheduler began its loop last in the same thread.
"""

from __future__ import annotations

import functools
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import nn

from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.watched_method import PendingCall, WatchedMethod, is_watched
from forerun.diffusion.schedulers.quirks import NOISE_METHODS, has_loop, watched_names


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
    _check_components(pipe, scheduler, _list_networks(components))
    watch = PipelineWatch(pipe, scheduler, observer)
    try:
        watch.attach_networks()
        watch.attach_scheduler(scheduler)
        yield
    finally:
        watch.end()


def _list_networks(components: dict[str, Any]) -> dict[str, nn.Module]:
    return {name: module for name, module in components.items() if isinstance(module, nn.Module)}


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


class ThreadWatch(threading.local):
    """The watch whose scheduler began its loop last in this thread."""

    watch: PipelineWatch | None = None


RUNNING_WATCH = ThreadWatch()


@final
class PipelineWatch:
    """The watched methods of one pipeline, for one observer.

    Args:
        pipe: the pipeline.
        scheduler: of its components.
        observer: that sees the calls.
    """

    def __init__(self, pipe: Any, scheduler: Any, observer: PipelineObserver) -> None:
        self._pipe = pipe
        self._observer = observer
        self._follows_scheduler = getattr(pipe, "scheduler", None) is scheduler
        self._scheduler: Any = None
        self._scheduler_methods: list[WatchedMethod] = []
        self._network_methods: dict[int, WatchedMethod] = {}
        self._thread: int | None = None
        self._is_open = True

    def attach_networks(self) -> None:
        """Watch the networks that the pipeline has now; again where something else stands in place of a watch."""
        for name, network in _list_networks(dict(self._pipe.components)).items():
            method = self._network_methods.get(id(network))
            if method is not None and method.is_in_place:
                continue
            if method is not None:
                method.end_watch()
            attribute = "forward"
            if getattr(network, "_compiled_call_impl", None) is not None:
                attribute = "_compiled_call_impl"  # a network compiled in place is called past its forward
            handle = functools.partial(self._call_network, name, network)
            self._network_methods[id(network)] = WatchedMethod(network, attribute, handle)

    def attach_scheduler(self, scheduler: Any) -> None:
        """Watch a scheduler, in place of the one before."""
        self._detach_scheduler()
        self._scheduler = scheduler
        handlers: dict[str, Callable[[PendingCall], Any]] = {
            "step": functools.partial(self._step_scheduler, scheduler),
            "set_timesteps": functools.partial(self._begin_loop, scheduler),
        }
        for name in NOISE_METHODS:
            handlers[name] = functools.partial(self._record_noising, name)
        for name in watched_names(scheduler):
            self._scheduler_methods.append(WatchedMethod(scheduler, name, handlers[name]))

    def end(self) -> None:
        """Put all methods back."""
        self._is_open = False
        self._detach_scheduler()
        for method in self._network_methods.values():
            method.end_watch()
        self._network_methods = {}
        if RUNNING_WATCH.watch is self:
            RUNNING_WATCH.watch = None

    def _detach_scheduler(self) -> None:
        for method in self._scheduler_methods:
            method.end_watch()
        self._scheduler_methods = []

    @property
    def _is_in_charge(self) -> bool:
        """Whether a call of a network in this thread belongs to this pipeline."""
        running = RUNNING_WATCH.watch
        if running is not None and running._is_open:
            return running is self
        return self._thread in {None, threading.get_ident()}

    def _take_charge(self) -> None:
        self._thread = threading.get_ident()
        RUNNING_WATCH.watch = self

    def _call_network(self, name: str, network: nn.Module, call: PendingCall) -> Any:
        if not self._is_in_charge:
            return call()
        self._follow_scheduler()
        return self._observer.call_network(name, network, call)

    def _follow_scheduler(self) -> None:
        """Watch the scheduler that the pipeline has now, where the user has set another."""
        if not self._follows_scheduler:
            return
        scheduler = self._pipe.scheduler
        if scheduler is self._scheduler or not has_loop(scheduler) or is_watched(scheduler):
            return
        self.attach_scheduler(scheduler)
        self._observer.begin_loop(scheduler)

    def _step_scheduler(self, scheduler: Any, call: PendingCall) -> Any:
        self._take_charge()
        result = self._observer.step_scheduler(scheduler, call)
        self._keep_watching()
        return result

    def _keep_watching(self) -> None:
        if not all(method.is_in_place for method in self._network_methods.values()):
            self.attach_networks()

    def _begin_loop(self, scheduler: Any, call: PendingCall) -> Any:
        result = call()
        self._take_charge()
        self.attach_networks()
        self._observer.begin_loop(scheduler)
        return result

    def _record_noising(self, name: str, call: PendingCall) -> Any:
        result = call()
        arguments = inspect.signature(call.function).bind(*call.args, **call.kwargs).arguments
        self._observer.record_noising(NoisingCall(name, arguments, result))
        return result
