"""LoopRun: a loop on its way, an event for every accepted step, and the solution at its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, final

from torch import Tensor

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.parts import PathSegment, SegmentedRun, join_solutions
from forerun.engine.process import Process
from forerun.engine.run import guard
from forerun.engine.solution import NotConverged, Solution, Status
from forerun.optim.barriers import Barriers
from forerun.optim.events import AcceptedStep, SaveEvery


class Driven(Protocol):
    """What a run asks of its `Loop`."""

    barriers: Barriers
    settings: SolveSettings
    notes: tuple[str, ...]

    def process(self, length: int) -> Process:
        """The loop up to a step."""

    def changed(self, at: Checkpoint) -> Tree:
        """The state to go on from."""

    def hold(self, state: Tree, step: int) -> None:
        """Let the user's objects hold a state, and the loop stand before a step."""

    def untouched(self) -> None:
        """Refuse parameters that were changed since `hold`."""

    def tree(self, found: Sequence[Tensor]) -> Tree:
        """Tensors, shaped like what the user passed."""


@final
class LoopRun(Iterable[AcceptedStep]):
    """A run of a `Loop`: iterate over its steps, ask for its `solution()`, or both.

    Nothing runs before the first step is asked for. While a step is looked at, and after the run, however it ends, the
    user's parameters and optimisers hold the state after the last step seen; after a `break`, iterating again or
    `solution()` goes on from there.
    """

    def __init__(
        self,
        loop: Driven,
        begin: Checkpoint,
        *,
        callback: Callable[[AcceptedStep], Any] | None = None,
        save: SaveEvery | None = None,
    ) -> None:
        self._loop = loop
        self._at = begin  # what is accepted; its length is the end of the run
        self._seen = begin.step, begin.state  # what was told of it, or will not be
        self._callback = callback
        self._save = save
        self._parts: list[Solution] = []
        self._finished = False

    def __iter__(self) -> Iterator[AcceptedStep]:
        # nothing here holds the generator: a break drops the last reference to it, which ends it at once
        return self._go(quiet=False)

    def solution(self) -> Solution:
        """The solution, once the steps that are left are taken.

        Raises:
            NotConverged: a step was not finite; its `solution` holds what was accepted.
        """
        try:
            for _ in self._go(quiet=True):
                pass
        except KeyboardInterrupt:
            if not self._finished:
                raise
        return self._whole()

    def _go(self, *, quiet: bool) -> Generator[AcceptedStep, None, None]:
        """Take round after round; after each, yield the steps that it accepted."""
        if self._finished:
            return
        try:
            run = SegmentedRun(self._next_segment, self._at, self._loop.settings)
            with self._loop.settings.progress.track(self._at.step, self._at.length) as report:
                while (event := _next_event(run)) is not None:
                    report(event.round)
                    yield from self._accepted(run, event, quiet=quiet)
            self._close(run)
        except GeneratorExit:  # a break: what was seen last is held already
            self._written()
            raise
        except BaseException:
            self._ended()
            raise
        self._ended()
        if self._parts[-1].status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if self._parts[-1].status is Status.NONFINITE:
            raise NotConverged(self._whole())

    def _next_segment(self, place: Checkpoint) -> PathSegment:
        """Return the steps up to the next barrier, from the state that the loop goes on from."""
        state = self._loop.changed(place)
        stop = self._loop.barriers.stop(place.step, place.length)
        return PathSegment(self._loop.process(stop), state)

    def _accepted(self, run: SegmentedRun, event: RoundEvent, *, quiet: bool) -> Generator[AcceptedStep, None, None]:
        """Yield the steps of a round that it accepted, save where a file is due, and stop where the callback says."""
        before, self._at = self._at.step, event.checkpoint()
        try:
            stop = yield from self._each(event, quiet=quiet)
        except BaseException:
            self._rewind(run)
            raise
        if self._save and self._save.passed(before, self._at.step):
            self._save.save(self._at)
        if stop:
            run.end(Status.STOPPED)

    def _close(self, run: SegmentedRun) -> None:
        solution = run.solution()
        self._parts.append(solution)
        self._at = solution.checkpoint
        self._finished = True

    def _ended(self) -> None:
        self._loop.hold(self._at.state, self._at.step)
        self._written()

    def _written(self) -> None:
        if self._save:
            self._save.save(self._at)

    def _each(self, event: RoundEvent, *, quiet: bool) -> Generator[AcceptedStep, None, bool]:
        """The steps of a round; whether the callback wants to stop."""
        stop = False
        if quiet and self._callback is None:
            self._seen = event.step, event.state
            return stop
        for step, state in enumerate(event.states, event.round.start):
            if step < self._seen[0]:  # the check went back
                continue
            accepted = AcceptedStep(step, self._at.rounds, state, self._loop.tree)
            self._loop.hold(state, step + 1)
            self._seen = step + 1, state
            if self._callback is not None:
                stop = bool(self._callback(accepted)) or stop
            if not quiet:
                yield accepted
            self._loop.untouched()
        return stop

    def _rewind(self, run: SegmentedRun) -> None:
        """Go back to the step seen last, where the rest of a round will not be."""
        step, state = self._seen
        self._at = replace(self._at, step=step, state=state, ahead=None, shadow=None)
        run.end(Status.STOPPED)
        self._parts.append(run.solution())

    def _whole(self) -> Solution:
        """Return all parts as one solution."""
        return join_solutions(self._parts, length=self._at.length, checkpoint=self._at, notes=self._loop.notes)


def _next_event(run: SegmentedRun) -> RoundEvent | None:
    """Return the next round of a run; None at its end."""
    with guard(run):
        if run.goes_on():
            return run.take_round()
    return None


def loaded(state: Tree) -> bool:
    """Whether a checkpoint's state is that of a loop."""
    return isinstance(state, dict) and "of" in state and all(isinstance(each, Tensor) for each in state["params"])
