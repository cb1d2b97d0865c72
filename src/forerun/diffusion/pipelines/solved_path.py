"""SolvedPath: the solved rest of a loop, from which a pipeline's networks are answered while it walks on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

from torch import nn

from forerun.diffusion.pipelines.calls import fill_output
from forerun.diffusion.pipelines.compare import find_difference
from forerun.diffusion.pipelines.handed_back import HandedBackLoop
from forerun.diffusion.pipelines.network_state import NetworkState
from forerun.diffusion.pipelines.record_sharing import share_records
from forerun.diffusion.pipelines.remaining_loop import RemainingLoop
from forerun.diffusion.pipelines.watched_method import PendingCall
from forerun.engine.adopted_steps import may_hand_back
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.event import RoundEvent
from forerun.engine.options import SolveOptions
from forerun.engine.run import SolveRun
from forerun.engine.solution import Solution, Status
from forerun.engine.solve import run_to_end

TOLERANCE_SLACK = 4.0  # times the tolerance, that an input may lie off the one that was evaluated


@dataclass(frozen=True)
class SolvedRest:
    """What a solve of the rest of a loop came to.

    Attributes:
        solution: of the steps up to the end, or to where the window declined.
        handed_back: the steps from there on; None where it did not decline.
    """

    solution: Solution
    handed_back: HandedBackLoop | None

    @property
    def is_path(self) -> bool:
        """Whether there are accepted steps for the pipeline to walk."""
        return self.solution.status.done or self.handed_back is not None


def solve_remaining(loop: RemainingLoop, options: SolveOptions, spent: tuple[int, int]) -> SolvedRest:
    """Solve the steps after the traced one; `spent` are the rounds and evaluations of the loop before.

    Where the window declines, the solve ends: the pipeline's own loop goes on from there at no cost.
    """
    settings = options.settled()
    handed_back: HandedBackLoop | None = None

    def follow_round(event: RoundEvent) -> Any:
        nonlocal handed_back
        loop.rounds += 1
        is_stopped = settings.callback(event)
        if not is_stopped and may_hand_back(run):
            handed_back = HandedBackLoop(run, loop.process)
        return is_stopped or handed_back is not None

    rounds, evaluations = spent
    begin = Checkpoint(
        1,
        loop.length,
        loop.state,
        rounds=rounds,
        evaluations=evaluations,
    )
    run = SolveRun(loop.process, loop.state, settings, resume=begin)
    if run.goes_on() and may_hand_back(run):  # at once, as the last runs of this kind
        handed_back = HandedBackLoop(run, loop.process)
        solution = run.solution()
    else:
        solution = run_to_end(run, replace(settings, callback=follow_round))
    if handed_back is not None:
        solution = replace(solution, status=Status.UNCHECKED, deviation=None)  # as yet
    if solution.status.done:
        share_records(loop.records, settings.backend, loop.device)
    return SolvedRest(solution, handed_back)


@final
class SolvedPath:
    """The solved rest of a loop, and how far the pipeline has walked it.

    Args:
        loop: what was solved.
        options: how.
        state: of its networks, before they were called.
        stop: the step after the last of the path.

    Attributes:
        is_left: whether the pipeline has left the path within the present step.
        difference: which argument was not the one that was evaluated, or what the networks keep has changed, where it
            has.
    """

    def __init__(
        self,
        loop: RemainingLoop,
        options: SolveOptions,
        state: NetworkState,
        stop: int,
    ) -> None:
        self.is_left = False
        self._state = state
        if state.find_change() is not None:  # by what was evaluated
            self._state = NetworkState(loop.networks)
        self.difference: str | None = None
        self._loop = loop
        self._threshold = TOLERANCE_SLACK * options.settled().tolerance.threshold()
        self._index = 1  # of the present step
        self._stop = stop

    @property
    def is_finished(self) -> bool:
        """Whether the last step is taken."""
        return self._index >= self._stop

    @property
    def has_single_calls(self) -> bool:
        """Whether a step calls one network once."""
        return len(self._loop.graph.calls) == 1

    def has_answered(self, calls: int) -> bool:
        """Return whether all calls of the present step, so many, were answered from the path."""
        return not self.is_left and calls == len(self._loop.graph.calls)

    def answer_call(self, place: int, network: nn.Module, call: PendingCall) -> Any:
        """Return what the path holds for call number `place` of the step; None where it does not lead there."""
        output = self._look_up(place, network, call)
        self.is_left = output is None
        return output

    def finish_step(self) -> None:
        """Go on to the next step; what the networks returned in this one is no longer needed."""
        self._loop.records.pop(self._index, None)
        self._index += 1

    def _look_up(self, place: int, network: nn.Module, call: PendingCall) -> Any:
        calls = self._loop.graph.calls
        if self.is_left or place >= len(calls) or self._index not in self._loop.records:
            return None
        traced = calls[place]
        if traced.call.network is not network:
            return None
        batch = self._loop.evaluated_batch(self._index)
        threshold = self._threshold * self._loop.process.unit_at(self._index)
        self.difference = find_difference(traced, batch, call, threshold=threshold)
        if self.difference is None and place == 0:
            self.difference = self._state.find_change()
        if self.difference is not None:
            return None
        tensors = self._loop.records[self._index].outputs[place]
        return fill_output(traced.call.output, tensors, listed=traced.listed)
