"""RunMemory: what windows have learnt of runs, by the kind of run, for as long as the process lives.

A run never depends on it for its answer: it says where a window begins, and what a trial need not find out again.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any, Final, final

from torch import nn

from forerun.engine.backends import Local, Threads
from forerun.engine.options import SolveSettings
from forerun.engine.process import Process, StepProcess
from forerun.engine.rounds import Round
from forerun.engine.rows import Problem
from forerun.engine.solve_state import SolveState
from forerun.engine.windows import PastRun, Window

REMEMBERED_KINDS: Final = 256


@final
class RunMemory:
    """The last run of each kind, of so many kinds; safe to use from several threads."""

    def __init__(self, size: int = REMEMBERED_KINDS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._runs: OrderedDict[Hashable, PastRun] = OrderedDict()

    def __len__(self) -> int:
        return len(self._runs)

    def recall(self, kind: Hashable) -> PastRun | None:
        """Return what the last run of a kind left; None where there was none."""
        if kind is None:
            return None
        with self._lock:
            return self._runs.get(kind)

    def remember(self, kind: Hashable, run: PastRun) -> None:
        """Remember a run as the last of its kind; the kind that was met longest ago is forgotten for one too many."""
        if kind is None:
            return
        with self._lock:
            self._runs[kind] = run
            self._runs.move_to_end(kind)
            while len(self._runs) > self._size:
                self._runs.popitem(last=False)

    def clear(self) -> None:
        """Forget all runs."""
        with self._lock:
            self._runs.clear()


RUN_MEMORY: Final = RunMemory()


def describe_run(problem: Problem, settings: SolveSettings, first_step: int = 0) -> Hashable:
    """Return the kind of a run; None where nothing may be remembered of it.

    Runs over several ranks learn nothing from one another, as all ranks must decide the same.
    """
    if not isinstance(settings.backend, Local | Threads):
        return None
    layout = problem.input_layout
    kind = (
        describe_process(problem.process),
        (first_step, problem.length),
        (layout.batch, layout.shapes, layout.dtypes, layout.device),
        (settings.method, settings.window, settings.check, settings.tolerance.threshold(), settings.backend),
    )
    try:
        hash(kind)
    except TypeError:
        return None
    return kind


def recall_run(kind: Hashable, settings: SolveSettings) -> SolveSettings:
    """Return the settings with a window that begins with what the last run of a kind has learnt."""
    past = RUN_MEMORY.recall(kind)
    return settings if past is None else replace(settings, window=settings.window.recall(past))


def remember_run(
    kind: Hashable,
    window: Window,
    log: Sequence[Round],
    state: SolveState,
) -> None:
    """Remember a run that has ended, for the next one of its kind."""
    if kind is None or not log:
        return
    past = window.summarise(log, state.window.problem.length, reason=state.reason)
    if past is not None:
        RUN_MEMORY.remember(kind, past)


def describe_process(process: Process) -> Hashable:
    """Return by what a process is known again: what it says itself, or its class, its function and its networks."""
    if process.kind is not None:
        return type(process), _refer_to(process.kind)
    if isinstance(process, StepProcess):
        return _refer_to(getattr(process.function, "__code__", process.function))
    parts = [_describe_part(value) for value in vars(process).values()]
    return type(process), tuple(part for part in parts if part is not None)


def _describe_part(value: Any) -> Hashable:
    """Return a reference to a network, or to the code of a function; None for all else."""
    if isinstance(value, nn.Module):
        return _refer_to(value)
    if isinstance(value, FunctionType):
        return _refer_to(value.__code__)
    return None


def _refer_to(value: Any) -> Hashable:
    """Return a weak reference, so that nothing is kept alive; the value itself where it takes none."""
    reference: Hashable = value
    try:
        reference = weakref.ref(value)
    except TypeError:
        return reference
    return reference
