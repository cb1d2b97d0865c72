"""PipelineLoop: one loop of a pipeline, traced at a step that it took, solved, and walked by the pipeline itself."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.blend import NoisingCall
from forerun.diffusion.pipelines.calls import NetworkCall, NotUnderstood
from forerun.diffusion.pipelines.handed_back import HandedBackLoop
from forerun.diffusion.pipelines.loop_ledger import LoopLedger
from forerun.diffusion.pipelines.network_state import NetworkState
from forerun.diffusion.pipelines.observed_samples import ObservedSamples
from forerun.diffusion.pipelines.remaining_loop import RemainingLoop
from forerun.diffusion.pipelines.scheduler_snapshot import SchedulerSnapshot
from forerun.diffusion.pipelines.solved_path import SolvedPath, solve_remaining
from forerun.diffusion.pipelines.watched_method import PendingCall
from forerun.diffusion.pipelines.witnessed_path import refuse_moving_state, witness_path
from forerun.diffusion.schedulers.step_signature import bind_step, previous_sample
from forerun.engine.numerics.noise import remember_generators
from forerun.engine.options import SolveOptions
from forerun.engine.solution import Solution, Status
from forerun.engine.witness import WitnessDisagrees, WitnessWarning

UNWITNESSED_PATH = "The networks were not called for one step alone as a witness (witness=False)."
MAX_FAILURES = 3  # times that the pipeline may leave the path in one loop
MAX_CALLS = 512  # of networks, that are remembered of one step
LEAST_STEPS = 3  # that are left, the present one included, from which on there is anything to gain


@dataclass(frozen=True)
class _Proposal:
    """The rest of a loop, traced at its step `start` and not solved yet."""

    loop: RemainingLoop
    start: int
    is_confirmed: bool


@final
class PipelineLoop:
    """One loop of a pipeline: a step is traced, what is left is solved, the pipeline walks it, and so on.

    **The probe for changes between two steps.** Whether a pipeline changes its samples between two steps, as
    inpainting does by the scheduler's `add_noise`, is found out by looking: a traced step is solved only when the
    first network of the next step is called. If the scheduler added noise meanwhile, that step is taken as it is, and
    must come out as the trace foresaw before anything is solved.

    Args:
        pipe: the pipeline.
        options: how to solve.
    """

    def __init__(self, pipe: Any, options: SolveOptions) -> None:
        self._pipe = pipe
        self._options = options
        self._window = options.settled().window
        self._ledger = LoopLedger()
        self._calls: list[NetworkCall] = []  # of this step
        self._is_listening = True  # until the path is walked to its end
        self._is_inside = False  # within a network, which may call another, or a solve
        self._runs_in_order = False  # to the end
        self._path: SolvedPath | None = None
        self._proposal: _Proposal | None = None
        self._failures = 0
        self._difference: str | None = None
        self._samples = ObservedSamples()
        self._handed_back: HandedBackLoop | None = None

    @property
    def solution(self) -> Solution | None:
        """What the loop came to so far; None where no step was taken."""
        return self._ledger.solution()

    def record_noising(self, noising: NoisingCall) -> None:
        """Take note that the scheduler added noise to a sample."""
        self._samples.record_noising(noising)

    def call_network(self, name: str, network: nn.Module, call: PendingCall) -> Any:
        """Return the output of a network: from the solved path where it leads there, else by calling it."""
        if self._is_inside or self._runs_in_order or not self._is_listening:
            return call()
        if self._proposal is not None and not self._calls:
            self._settle_proposal(self._proposal)
        answer = None
        if self._path is not None:
            answer = self._path.answer_call(len(self._calls), network, call)
            self._difference = self._path.difference
            if answer is not None and self._path.has_single_calls:
                self._calls.append(NetworkCall(name, network, call, answer, answer))  # counted, and not looked at
                return answer
        return self._record_call(name, network, call, answer)

    def _record_call(self, name: str, network: nn.Module, call: PendingCall, answer: Any) -> Any:
        """Keep a call of this step, for its trace; make it where there is no answer."""
        # new containers, as networks may empty theirs
        args, kwargs = pytree.tree_map(lambda leaf: leaf, (call.args, call.kwargs))
        output = self._call_inside(call) if answer is None else answer
        original = pytree.tree_map_only(Tensor, torch.clone, output)  # pipelines may change theirs in place
        request = PendingCall(call.function, args, kwargs)
        self._calls.append(NetworkCall(name, network, request, original, output))
        if len(self._calls) > MAX_CALLS:  # of no step, or of one that is too long to be traced
            self._calls = []
        return output

    def step_scheduler(self, scheduler: Any, call: PendingCall) -> Any:
        """Return the result of the scheduler's own step; trace it where the pipeline is not on a solved path."""
        if self._path is not None and self._path.has_answered(len(self._calls)):
            result = call()
            self._walk_path(self._path)
        elif self._runs_in_order:
            result = self._step_in_order(scheduler, call)
        else:
            snapshot = self._take_snapshot(scheduler, call)
            result = call()
            self._ledger.count_single_step()
            if snapshot is not None:
                self._trace_step(snapshot, result)
        self._finish_step(result)
        return result

    def _step_in_order(self, scheduler: Any, call: PendingCall) -> Any:
        """Return the result of a step that the pipeline takes by itself, to the end of its loop."""
        handed_back = self._handed_back
        if handed_back is not None:
            handed_back.record_step(scheduler, call.args, call.kwargs)
        result = call()
        self._ledger.count_single_step()
        if handed_back is not None:
            solution = handed_back.finish_step(scheduler, previous_sample(result))
            if solution is not None:
                self._ledger.judge_last(solution)
                self._handed_back = None
        return result

    def _take_snapshot(self, scheduler: Any, call: PendingCall) -> SchedulerSnapshot | None:
        """Return the scheduler as it is before a step; None where the step takes no samples that can be seen."""
        try:
            arguments = bind_step(scheduler, call.args, call.kwargs)
            if not isinstance(arguments.get("sample"), Tensor):
                self._ledger.add_note(f"The step of {type(scheduler).__name__} has no argument named sample: in order.")
                return None
            return SchedulerSnapshot(scheduler, arguments)
        except Exception as error:
            self._give_up_after(error, self._ledger.steps)
            return None

    def _finish_step(self, result: Any) -> None:
        self._calls = []
        self._samples.finish_step(result)
        self._ledger.finish_step(self._samples.last)

    def _call_inside(self, call: PendingCall) -> Any:
        self._is_inside = True
        try:
            return call()
        finally:
            self._is_inside = False

    def _walk_path(self, path: SolvedPath) -> None:
        path.finish_step()
        if path.is_finished:
            self._path = None
            self._is_listening = False
            self._runs_in_order = self._handed_back is not None

    def _trace_step(self, snapshot: SchedulerSnapshot, result: Any) -> None:
        """Trace a step that was taken, and propose to solve what is left; go on in order where that cannot be done."""
        restore_generators = remember_generators(previous_sample(result).device)
        try:
            self._propose_rest(snapshot, previous_sample(result))
        except Exception as error:
            self._proposal, self._path = None, None
            restore_generators()
            self._give_up_after(error, self._ledger.steps)

    def _propose_rest(self, snapshot: SchedulerSnapshot, next_sample: Tensor) -> None:
        is_confirmed = self._confirm_proposal(snapshot)
        timesteps = snapshot.remaining_timesteps(self._pipe, self._ledger.steps)
        self._ledger.expect_steps(len(timesteps))
        if len(timesteps) < LEAST_STEPS or self._declines(len(timesteps)):
            return
        traced = self._samples.trace_step(
            self._pipe, self._calls, snapshot, next_sample=next_sample, timesteps=timesteps
        )
        loop = RemainingLoop(traced)
        self._proposal = _Proposal(loop, self._ledger.steps, is_confirmed)

    def _confirm_proposal(self, snapshot: SchedulerSnapshot) -> bool:
        """Return whether this step was as the one before foresaw; forget what was traced and solved before."""
        proposal, path = self._proposal, self._path
        self._proposal, self._path = None, None
        is_confirmed = False
        if proposal is not None:
            sample, received = (
                snapshot.arguments["sample"],
                snapshot.arguments["model_output"],
            )
            is_confirmed = proposal.loop.foresaw(self._calls, sample, received)
        if path is not None or (proposal is not None and not is_confirmed):
            self._failures += 1
        return is_confirmed

    def _declines(self, steps_left: int) -> bool:
        """Return whether nothing is solved any more, with a note that says why."""
        reason = self._window.declines(self._ledger.steps + steps_left)
        if self._handed_back is not None:  # a solve declined after a step that the pipeline does not reach as foreseen
            self._handed_back = None
            self._runs_in_order = True
        elif reason is not None:
            self._runs_in_order = True
            self._ledger.notes.append(reason)
        elif self._failures > MAX_FAILURES:
            culprit = self._difference or "a call of a network"
            self._give_up(
                f"{culprit} was not as the steps before foresaw, {self._failures} times",
                self._ledger.steps,
            )
        elif self._failures and not self._ledger.pays_again(steps_left - 1):
            culprit = self._difference or "what a step calls"
            self._give_up(
                f"{culprit} has changed, and too few steps are left to gain by solving them again",
                self._ledger.steps,
            )
        return self._runs_in_order

    def _settle_proposal(self, proposal: _Proposal) -> None:
        """Solve what was proposed, unless the step that begins must confirm it: see the probe above."""
        must_confirm = self._samples.were_noised or self._failures > 0
        if must_confirm and not proposal.is_confirmed:
            return
        self._proposal = None
        self._is_inside = True
        restore_generators = remember_generators(proposal.loop.device)
        try:
            self._solve_proposal(proposal)
        except Exception as error:
            restore_generators()
            self._give_up_after(error, proposal.start)
        finally:
            self._is_inside = False

    def _solve_proposal(self, proposal: _Proposal) -> None:
        options = proposal.loop.complete_options(self._options)
        state = NetworkState(proposal.loop.networks)
        try:
            rest = solve_remaining(proposal.loop, options, self._ledger.spent)
        except Exception:
            refuse_moving_state(state)
            raise
        solution = rest.solution
        self._ledger.add_solution(solution, proposal.start)
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        refuse_moving_state(state)
        if rest.is_path:
            self._handed_back = rest.handed_back
            self._open_path(proposal.loop, options, state, stop=solution.step)
        elif solution.status is Status.NONFINITE:
            self._give_up("a step was not finite", proposal.start)

    def _open_path(self, loop: RemainingLoop, options: SolveOptions, state: NetworkState, *, stop: int) -> None:
        """Witness a solved path, and let the pipeline walk it."""
        witness = options.settled().witness
        self._ledger.witnessed += witness_path(loop, witness, stop)
        if witness is None:
            self._ledger.add_note(UNWITNESSED_PATH)
        if stop > 1:
            self._path = SolvedPath(loop, options, state, stop)
        else:
            self._runs_in_order = True

    def _give_up_after(self, error: Exception, step: int) -> None:
        """Go on in order after an error, or raise it where that is asked for."""
        if self._options.strict:
            raise error
        if isinstance(error, WitnessDisagrees):
            self._give_up(str(error), step, WitnessWarning)
            return
        reason = str(error)
        if not isinstance(error, NotUnderstood):
            reason = f"{type(error).__name__}: {error}"
        self._give_up(reason, step)

    def _give_up(self, reason: str, step: int, category: type[Warning] = RuntimeWarning) -> None:
        self._runs_in_order = True
        note = f"Sequential from step {step + 1} on: {reason}."
        self._ledger.notes.append(note)
        warnings.warn(f"forerun: {note}", category, stacklevel=2)
