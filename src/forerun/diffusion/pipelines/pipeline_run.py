"""PipelineRun: a pipeline's loop, learnt from its first step, solved, and walked by the pipeline itself."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from forerun.diffusion.pipelines.blend import Blend, NoisingCall, find_blend
from forerun.diffusion.pipelines.calls import Call, NotUnderstood, like
from forerun.diffusion.pipelines.compare import differing
from forerun.diffusion.pipelines.hooks import PendingCall, PipelineObserver
from forerun.diffusion.pipelines.loop_ledger import LoopLedger, solve_rest
from forerun.diffusion.pipelines.remaining_loop import Plan, TracedStep
from forerun.diffusion.pipelines.schedule import Before, named, options, remaining
from forerun.diffusion.schedulers.history import original
from forerun.engine.options import SolveOptions
from forerun.engine.solution import Solution, Status

RESTARTS = 3  # times that the pipeline may leave the path in one loop
SLACK = 4.0  # of the tolerance, that an input may lie off the one that was evaluated
WORTH = 3  # steps that are left, the one taken included, from which on there is anything to gain


@final
class PipelineRun(PipelineObserver):
    """What `parallel` yields: the runs of a pipeline inside of it."""

    def __init__(self, pipe: Any, options: SolveOptions, *, strict: bool) -> None:
        self._pipe = pipe
        self._options = options
        self._strict = strict
        self._window = options.settled().window
        self._solutions: list[Solution] = []
        self._inside = False  # a network that calls another
        self._reset()

    @property
    def solutions(self) -> list[Solution]:
        """One for every loop so far."""
        now = self._account.solution()
        return self._solutions if now is None else [*self._solutions, now]

    @property
    def solution(self) -> Solution | None:
        """Of the last loop; None before the first has begun."""
        return self.solutions[-1] if self.solutions else None

    def _reset(self) -> None:
        self._account = LoopLedger()
        self._calls: list[Call] = []  # of this step
        self._listening = True  # a loop may begin, or goes on
        self._plan: Plan | None = None  # solved
        self._index = 0  # of this step in it
        self._left = False  # whether this step has left it
        self._pending: Plan | None = None  # waits for a step that confirms it
        self._failures = 0
        self._differed: str | None = None
        self._hopeless = False
        self._last: Tensor | None = None  # what the last step returned
        self._noised: NoisingCall | None = None
        self._blend: Blend | None = None

    def begin_loop(self, scheduler: Any) -> None:
        self._solutions = self.solutions
        self._reset()

    def record_noising(self, noised: NoisingCall) -> None:
        self._noised = noised

    def call_network(self, name: str, network: nn.Module, asked: PendingCall) -> Any:
        if self._inside or not self._listening:
            return asked()
        # new containers, as networks may empty theirs
        args, kwargs = pytree.tree_map(lambda leaf: leaf, (asked.args, asked.kwargs))
        output = self._answer(network, asked)
        if output is None:
            self._left = self._plan is not None
            self._inside = True
            try:
                output = asked()
            finally:
                self._inside = False
        kept = pytree.tree_map_only(Tensor, torch.clone, output)  # pipelines may change theirs in place
        self._calls.append(Call(name, network, PendingCall(asked.function, args, kwargs), kept, output))
        return output

    def _answer(self, network: nn.Module, asked: PendingCall) -> Any:
        """What the solved path holds for this call; None where it does not lead here."""
        plan, place = self._plan, len(self._calls)
        if plan is None or self._left or place >= len(plan.recipe.parts) or self._index not in plan.records:
            return None
        part = plan.recipe.parts[place]
        if part.call.network is not network:
            return None
        threshold = SLACK * plan.settings(self._options).tolerance.threshold() * plan.process.unit(self._index)
        self._differed = differing(part, plan.expected(part, self._index), asked, threshold=threshold)
        if self._differed is not None:
            return None
        return like(part.call.output, plan.records[self._index].outputs[place], listed=part.listed)

    def step_scheduler(self, scheduler: Any, asked: PendingCall) -> Any:
        given = inspect.signature(original(scheduler).step).bind(scheduler, *asked.args, **asked.kwargs).arguments
        if self._plan is not None and not self._left and len(self._calls) == len(self._plan.recipe.parts):
            result = asked()
            self._walked(self._plan)
        elif self._hopeless or not isinstance(given.get("sample"), Tensor):
            result = asked()
            self._account.single()
        else:
            before = Before(scheduler, given)
            result = asked()
            self._account.single()
            self._learn(before, _following(result))
        self._calls = []
        self._last = _following(result)
        self._account.taken(self._last)
        return result

    def _walked(self, plan: Plan) -> None:
        plan.records.pop(self._index, None)
        self._index += 1
        if self._index == plan.length:
            self._plan = None
            self._listening = False

    def _learn(self, before: Before, following: Tensor) -> None:
        """Learn from a step that was taken, and solve what is left."""
        given = before.given
        sample, received = given["sample"], given["model_output"]
        confirmed = self._pending is not None and self._pending.foretold(self._calls, sample, received)
        self._failures += self._plan is not None or (self._pending is not None and not confirmed)
        self._plan, self._pending, self._left = None, None, False
        timesteps = remaining(self._pipe, before, self._account.steps)
        self._account.reaches(len(timesteps))
        if len(timesteps) < WORTH:
            return None
        few = self._window.declines(self._account.steps + len(timesteps))
        if few is not None:
            self._hopeless = True
            self._account.notes.append(few)
            return None
        if self._failures > RESTARTS:
            what = self._differed or "a call of a network"
            return self._give_up(f"{what} was not as the steps before foretold, {self._failures} times")
        if self._failures and not self._account.pays(len(timesteps) - 1):
            what = self._differed or "what a step calls"
            return self._give_up(f"{what} has changed, and too few steps are left to gain by solving them again")
        if self._last is not None:
            self._blend = find_blend(self._noised, self._last, sample)
        try:
            plan = Plan(self._taken(before, following, timesteps))
            if self._cautious() and not confirmed:
                self._pending = plan
            else:
                self._solve(plan)
        except Exception as error:
            if self._strict:
                raise
            self._give_up(str(error) if isinstance(error, NotUnderstood) else f"{type(error).__name__}: {error}")

    def _taken(self, before: Before, following: Tensor, timesteps: list[Any]) -> TracedStep:
        given: Mapping[str, Any] = before.given
        return TracedStep(
            calls=self._calls,
            scheduler=before.scheduler,
            sample=given["sample"],
            received=given["model_output"],
            following=following,
            timesteps=timesteps,
            options=options(before, timesteps),
            generator=before.generator,
            named=named(self._pipe),
            blend=self._blend,
        )

    def _cautious(self) -> bool:
        """Whether a second step must confirm what was learnt: where a step went elsewhere, or is likely to."""
        if self._failures:
            return True
        try:
            loop = inspect.getsource(type(self._pipe).__call__)
        except (OSError, TypeError):
            return False
        return any(f"scheduler.{word}(" in loop for word in ("add_noise", "scale_noise"))

    def _solve(self, plan: Plan) -> None:
        solution = solve_rest(plan, plan.settings(self._options), self._account.spent)
        self._account.solved(solution)
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if solution.status.done:
            self._plan, self._index = plan, 1
        elif solution.status is Status.NONFINITE:
            self._give_up("a step was not finite")

    def _give_up(self, reason: str) -> None:
        self._hopeless = True
        note = f"Sequential from step {self._account.steps + 1} on: {reason}."
        self._account.notes.append(note)
        warnings.warn(f"forerun: {note}", RuntimeWarning, stacklevel=2)


def _following(result: Any) -> Tensor:
    found: Tensor = result[0] if isinstance(result, tuple) else result.prev_sample
    return found
