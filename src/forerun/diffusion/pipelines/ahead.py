"""Ahead: a pipeline's loop, learnt from its first step, solved, and walked by the pipeline itself."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.diffusion.pipelines.compare import same_arguments
from forerun.diffusion.pipelines.plan import Plan, Taken
from forerun.diffusion.pipelines.recipe import Call, NotUnderstood, like
from forerun.diffusion.pipelines.watch import Observer
from forerun.diffusion.schedulers.history import Skeleton, original
from forerun.diffusion.schedulers.noise import copied, originals
from forerun.engine.backends import Backend
from forerun.engine.check import Check
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.guess import Guess, Hold
from forerun.engine.methods import Method
from forerun.engine.progress import Progress
from forerun.engine.solution import Seconds, Solution, Status
from forerun.engine.solve import Event, solve
from forerun.engine.tolerance import PerStep, Tolerance
from forerun.engine.window import Window

RESTARTS = 3  # times that the pipeline may leave the solved path in one loop
SLACK = 4.0  # of the tolerance, that an input may lie off the one that was evaluated
SCALES = ("guidance_scale", "_guidance_scale", "true_cfg_scale", "_true_cfg_scale")


@dataclass(frozen=True)
class Settings:
    """What `parallel` was asked for."""

    method: Method
    window: Window
    tolerance: float | Tolerance | None
    check: bool | Check
    guess: Guess | None
    backend: Backend
    progress: Progress
    callback: Callable[[Event], Any]
    strict: bool


@final
class Ahead(Observer):
    """What `parallel` yields: the runs of a pipeline inside of it.

    Attributes:
        solutions: one for every loop that ended, or was left.
    """

    def __init__(self, pipe: Any, settings: Settings) -> None:
        self._pipe = pipe
        self._settings = settings
        self.solutions: list[Solution] = []
        self._inside = False  # a call of a network that calls another
        self._reset()

    @property
    def solution(self) -> Solution | None:
        """The last loop; None before the first has begun."""
        self._conclude()
        return self.solutions[-1] if self.solutions else None

    def _reset(self) -> None:
        self._plan: Plan | None = None
        self._calls: list[Call] = []
        self._listening = True
        self._left = False  # whether this step has left the solved path
        self._index = 0  # of the step in the plan
        self._steps = 0  # taken in this loop
        self._single = 0  # of them, with calls of their own
        self._solves: list[tuple[int, Solution]] = []  # where each began
        self._total = 0
        self._gave_up: str | None = None
        self._last: Tensor | None = None

    def began(self, scheduler: Any) -> None:
        self._conclude()
        self._reset()

    def noised(self, args: Any, kwargs: Any, result: Any) -> None:
        pass

    def called(self, name: str, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._inside or not self._listening:
            return call(*args, **kwargs)
        output = self._answer(module, args, kwargs)
        if output is None:
            self._left = self._plan is not None
            self._inside = True
            try:
                output = call(*args, **kwargs)
            finally:
                self._inside = False
        self._calls.append(Call(name, module, call, args, kwargs, output))
        return output

    def _answer(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """What the solved path holds for this call; None where it does not lead here."""
        plan, place = self._plan, len(self._calls)
        if plan is None or self._left or place >= len(plan.recipe.parts) or self._index not in plan.records:
            return None
        part = plan.recipe.parts[place]
        if part.call.module is not module:
            return None
        unit = plan.process.unit(self._index)
        if not same_arguments(part, plan.expected(part, self._index), (args, kwargs), limit=SLACK * self._tolerance(plan).limit() * unit):
            return None
        return like(part.call.output, plan.records[self._index].outputs[place], part.rows)

    def stepped(self, scheduler: Any, step: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        given = inspect.signature(original(scheduler).step).bind(scheduler, *args, **kwargs).arguments
        sample = given.get("sample")
        if self._plan is not None and not self._left and len(self._calls) == len(self._plan.recipe.parts):
            result = step(*args, **kwargs)
            self._walked()
        elif not isinstance(sample, Tensor) or self._gave_up is not None:
            result = step(*args, **kwargs)
            self._single += 1
        else:
            result = self._learn(scheduler, step, given, args, kwargs)
        self._steps += 1
        self._calls = []
        self._last = _following(result)
        return result

    def _walked(self) -> None:
        assert self._plan is not None
        self._plan.records.pop(self._index, None)
        self._index += 1
        if self._index == self._plan.length:
            self._plan = None
            self._listening = False

    def _learn(self, scheduler: Any, step: Callable[..., Any], given: Mapping[str, Any], args: Any, kwargs: Any) -> Any:
        """Take the step, learn from it, and solve what is left."""
        before, frozen = _before(scheduler, given)
        result = step(*args, **kwargs)
        self._plan, self._left = None, False
        self._single += 1
        timesteps = self._timesteps(scheduler, before, given["timestep"])
        self._total = max(self._total, self._steps + len(timesteps))
        if len(timesteps) < 3:
            return result
        if len(self._solves) > RESTARTS:
            self._give_up(f"the pipeline left the solved path {RESTARTS + 1} times; something changes its inputs")
            return result
        options = {
            name: value
            for name, value in given.items()
            if name not in {"self", "model_output", "timestep", "sample", "generator"}
        }
        try:
            plan = Plan(
                Taken(
                    calls=self._calls,
                    scheduler=before,
                    sample=given["sample"],
                    received=given["model_output"],
                    following=_following(result),
                    timesteps=timesteps,
                    options={name: value for name, value in options.items() if name != "return_dict"},
                    generator=frozen,
                    guidance_scales=self._scales(),
                )
            )
            self._solve(plan)
        except Exception as error:
            if self._settings.strict:
                raise
            self._give_up(str(error) if isinstance(error, NotUnderstood) else f"{type(error).__name__}: {error}")
        return result

    def _solve(self, plan: Plan) -> None:
        settings, spent = self._settings, self._spent()
        solution = solve(
            plan.process,
            plan.state,
            method=settings.method,
            window=settings.window,
            tolerance=self._tolerance(plan),
            check=settings.check,
            guess=settings.guess or Hold(plan.denoised),
            backend=settings.backend,
            progress=settings.progress,
            callback=settings.callback,
            resume=Checkpoint(1, plan.length, plan.state, rounds=spent[0], evaluations=spent[1]),
            throw=False,
        )
        self._solves.append((self._steps, solution))
        self._single = 0
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if solution.status.done:
            self._plan, self._index = plan, 1
        elif solution.status is Status.NONFINITE:
            self._give_up("a step was not finite")

    def _spent(self) -> tuple[int, int]:
        """Rounds and evaluations of this loop so far."""
        if not self._solves:
            return self._single, self._single
        last = self._solves[-1][1]
        return last.rounds + self._single, last.evaluations + self._single

    def _tolerance(self, plan: Plan) -> Tolerance:
        asked = self._settings.tolerance
        if isinstance(asked, Tolerance):
            return asked
        return PerStep(plan.precision if asked is None else asked, plan.process.levels)

    def _scales(self) -> list[float]:
        holders = [self._pipe, getattr(self._pipe, "guider", None)]
        found = [getattr(holder, name, None) for holder in holders for name in SCALES]
        return [float(scale) for scale in found if isinstance(scale, int | float) and not isinstance(scale, bool)]

    def _timesteps(self, scheduler: Any, before: Any, timestep: Any) -> list[Any]:
        """The timesteps of the loop from this step's on."""
        known = list(scheduler.timesteps)
        place = getattr(before, "_step_index", None)
        if place is None:
            place = getattr(before, "_begin_index", None)
        if place is None:
            place = next((index for index, t in enumerate(known) if float(t) == float(timestep)), len(known))
        rest = known[int(place) :]
        if not rest or float(rest[0]) != float(timestep):
            place = next((index for index, t in enumerate(known) if float(t) == float(timestep)), len(known))
            rest = known[place:]
        total = getattr(self._pipe, "_num_timesteps", None)
        left = total - self._steps if isinstance(total, int) else len(rest)
        return rest[:left] if 0 < left <= len(rest) else rest

    def _give_up(self, reason: str) -> None:
        self._gave_up = f"Sequential from step {self._steps + 1} on: {reason}."
        warnings.warn(f"forerun: {self._gave_up}", RuntimeWarning, stacklevel=2)

    def _conclude(self) -> None:
        """Put what this loop came to into `solutions`."""
        if not self._steps or self._last is None:
            return
        rounds, evaluations = self._spent()
        notes = [self._gave_up] if self._gave_up else []
        total = max(self._total, self._steps)
        end = Checkpoint(self._steps, total, self._last, rounds=rounds, evaluations=evaluations)
        if self._solves:
            first = self._solves[-1][0]
            solution = self._solves[-1][1]
            log = [replace(entry, start=entry.start + first, stop=entry.stop + first) for entry in solution.log]
            status = solution.status
            deviation: Tensor | None = solution.deviation
            seconds, notes = solution.seconds, [*solution.notes, *notes]
        else:
            log, status, deviation, seconds = [], Status.SEQUENTIAL, torch.zeros(len(self._last)), Seconds()
        self.solutions.append(Solution(self._last, total, status, log, deviation, end, seconds, notes))
        self._steps = 0


def _before(scheduler: Any, given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The scheduler and its generator as they are, for later."""
    skeleton, history = Skeleton.of(scheduler, given["sample"].shape)
    generator = given.get("generator")
    own = [copied(each) for each in originals(generator, given["sample"].device)]
    return skeleton.fill(history), own if isinstance(generator, Sequence) else own[0]


def _following(result: Any) -> Tensor:
    found: Tensor = result[0] if isinstance(result, tuple) else result.prev_sample
    return found
