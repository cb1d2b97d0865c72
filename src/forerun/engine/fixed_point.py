"""fixed_point: evaluate the map, measure, mix, take back what made matters worse; and say what holds at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from forerun.engine.limit_status import LimitStatus
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.run_guard import RunGuard
from forerun.engine.search.checkpoint import LimitCheckpoint
from forerun.engine.search.limit import Limit, NoLimit, largest_entry
from forerun.engine.search.options import LimitKeywords, LimitOptions, LimitSettings
from forerun.engine.search.run import LimitRun

WANTED_ENDS = frozenset({LimitStatus.STOPPED, LimitStatus.INTERRUPTED})


def fixed_point(
    map: Map | Callable[[Tree], Tree],
    x0: Tree,
    *,
    batch_dims: int = 0,
    options: LimitOptions | None = None,
    resume: LimitCheckpoint | str | Path | None = None,
    throw: bool = True,
    **keywords: Unpack[LimitKeywords],
) -> Limit:
    """Find the state that a map leaves as it is, `x* = T(x*)`.

    Args:
        map: the map, or a plain function `x -> T(x)`.
        x0: the first state, a tree of tensors and plain values.
        batch_dims: leading axes of every tensor that count independent problems, for a plain function.
        options: how to search, as one object.
        resume: a checkpoint, or the file of one, to go on from instead of from `x0`.
        throw: raise where no limit was reached, rather than return what there is.
        keywords: the options one by one: `method`, `tolerance`, `certificate`, `safeguard`, `backend`, `progress`,
            `callback`, `max_evaluations`, `repeatable`; `LimitOptions` says what they mean.

    Returns:
        A `Limit`; after a KeyboardInterrupt, one with the best state so far.

    Raises:
        NoLimit: no limit was reached, and `throw`; its `.limit` holds what there is.
        TypeError: an argument or a leaf of the state is of the wrong kind.
        ValueError: the map does not keep its contract; the message has the line to type.
        Exception: whatever the map raises, or a rank that is lost; its `checkpoint` has what is known.
    """
    settings = LimitOptions.gather(options, keywords).settled()
    run = LimitRun(_take_map(map, batch_dims), x0, settings, resume=resume)
    limit = search_to_end(run, settings)
    if throw and not limit.status.done and limit.status not in WANTED_ENDS:
        raise NoLimit(limit)
    return limit


def search_to_end(run: LimitRun, settings: LimitSettings) -> Limit:
    """Take evaluation after evaluation until all problems have ended, or the callback stops them."""
    tracking = settings.progress.track_limit(settings.tolerance.threshold())
    with RunGuard(run, interrupted=LimitStatus.INTERRUPTED), tracking as report:
        while run.goes_on():
            event = run.take_evaluation()
            report(event.evaluations, largest_entry(event.residual))
            if settings.callback(event):
                run.end(LimitStatus.STOPPED)
    return run.limit()


def _take_map(map_or_function: Map | Callable[[Tree], Tree], batch_dims: int) -> Map:
    """Return a map, from a plain function where it is one."""
    if isinstance(map_or_function, Map) or not callable(map_or_function):
        return map_or_function
    return Map.from_function(map_or_function, batch_dims=batch_dims)
