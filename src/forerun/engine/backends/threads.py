"""Threads: the steps of a round in slices, one for each core, that worker threads evaluate at the same time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from threading import Barrier, local
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.backends.base import Backend, RowFunction, SecondsReader, TimingReader
from forerun.engine.backends.local import Local, start_stopwatch
from forerun.engine.backends.slice_trial import SliceTrial
from forerun.engine.numerics.autocast import carry_modes
from forerun.engine.rounds import RoundTiming


class WorkerMark(local):
    """Whether this thread evaluates slices: a solve within an evaluation has no other threads to wait for."""

    is_worker = False


WORKER_MARK: Final = WorkerMark()


@final
@dataclass(frozen=True)
class Threads(Backend):
    """The cores of this machine, in one process: a round is cut into slices, and each worker thread takes one.

    PyTorch's own threads share out every single operation, and wait for one another after each; slices wait once a
    round. So they pay for small networks too, of which one step alone cannot keep two cores busy. Steps in order run
    in the caller's thread. Whole calls, with PyTorch's own threads, are tried as well, and taken where they are
    quicker; so they are on a GPU.

    `evaluate` must be safe to call in several threads at once: a network in eval mode is, one that keeps something of
    a call on itself is not.

    Args:
        count: number of threads; None for one a core that this process may use, at most `OMP_NUM_THREADS`.
        max_batch: steps in one call at most; None for no bound.
    """

    count: int | None = None
    max_batch: int | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"Threads({self.count}) evaluates nothing; pass 1 thread or more, or None for all cores")
        if self.max_batch is not None and self.max_batch < 1:
            raise ValueError(
                f"Threads(max_batch={self.max_batch}) evaluates nothing; pass max_batch=1 or more, or None"
            )

    def begin_run(self) -> Backend:
        count = self.count or count_usable_cores()
        if count == 1:
            return Local(self.max_batch)
        return ThreadedRun(count, self.max_batch)

    def evaluate(
        self, call: RowFunction, steps: Tensor, inputs: Tensor, overhead: float
    ) -> tuple[Tensor, TimingReader]:
        return self.begin_run().evaluate(call, steps, inputs, overhead)

    def start_walk(self, device: torch.device) -> Callable[[], SecondsReader] | None:
        return start_stopwatch(device)


@final
class ThreadedRun(Backend):
    """Threads during one run, of which it remembers whether slices pay.

    Args:
        count: number of threads.
        max_batch: steps in one call at most; None for no bound.
    """

    def __init__(self, count: int, max_batch: int | None = None) -> None:
        self._count = count
        self._max_batch = max_batch
        self._whole_calls = Local(max_batch)
        self._trial = SliceTrial()

    def evaluate(
        self, call: RowFunction, steps: Tensor, inputs: Tensor, overhead: float
    ) -> tuple[Tensor, TimingReader]:
        count = len(steps)
        if count < 2 or not inputs.is_cpu or WORKER_MARK.is_worker:
            return self._whole_calls.evaluate(call, steps, inputs, overhead)
        is_sliced = self._trial.prefers_slices(count)
        start_time = time.perf_counter()
        if is_sliced:
            outputs = self._evaluate_slices(call, steps, inputs)
        else:
            with torch_threads(self._count):
                outputs = self._whole_calls.evaluate_slices(call, steps, inputs)
        seconds = time.perf_counter() - start_time
        self._trial.add_call(count, seconds, is_sliced=is_sliced)
        return outputs, lambda: RoundTiming(evaluate=seconds, overhead=overhead)

    def start_walk(self, device: torch.device) -> Callable[[], SecondsReader] | None:
        return start_stopwatch(device)

    def _evaluate_slices(self, call: RowFunction, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs of all steps, in slices of nearly the same size that the threads take one by one."""
        sizes = share_evenly(len(steps), self._count, self._max_batch)
        carry, pool = carry_modes(), open_pool(self._count)
        tasks: list[Future[Tensor]] = []
        try:
            for rows in zip(steps.split(sizes), inputs.split(sizes), strict=True):
                tasks.append(pool.submit(copy_context().run, carry, call, *rows))
            return torch.cat([task.result() for task in tasks])
        finally:
            for task in tasks:
                task.cancel()
            wait(tasks)  # after an error or an interrupt too: nothing goes on in the background


def share_evenly(count: int, threads: int, max_size: int | None) -> list[int]:
    """Return the sizes of slices of `count` steps: as many for each thread, where there are enough steps."""
    slices = threads
    if max_size is not None:
        slices = threads * -(-count // (threads * max_size))
    slices = min(slices, count)
    return [count * (index + 1) // slices - count * index // slices for index in range(slices)]


def count_usable_cores() -> int:
    """Return the cores that this process may use, at most as many as OMP_NUM_THREADS says."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    first, _, _ = os.environ.get("OMP_NUM_THREADS", "").partition(",")  # a number a level of nesting
    return min(cores, max(int(first), 1)) if first.strip().isdecimal() else cores


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for an operation of this thread, for a while."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)


@cache
def open_pool(count: int) -> ThreadPoolExecutor:
    """Return worker threads, the same at every call, in each of which PyTorch works with one thread."""
    threads_before = torch.get_num_threads()
    barrier = Barrier(count)

    def begin_worker() -> None:
        WORKER_MARK.is_worker = True
        barrier.wait()
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(count, "forerun", begin_worker)
    wait([pool.submit(barrier.wait) for _ in range(count)])  # all have begun
    torch.set_num_threads(threads_before)  # the number for new threads, which is one for all
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=open_pool.cache_clear)
