"""Loop: an optimiser loop, run ahead of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.methods import Picard
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.windows import Within
from forerun.optim import preflight, validation
from forerun.optim.auto_gradients import AutoGradients, choose_gradients
from forerun.optim.barriers import NO_BARRIERS, Barriers
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.gradients import Gradients
from forerun.optim.loop_run import LoopRun
from forerun.optim.loss_task import DataFunction, LossTask
from forerun.optim.memory import fitting_width
from forerun.optim.optimizer_stepper import ClipFunction, OptimizerStepper, leave_gradients
from forerun.optim.parameters import LossFunction, Parameters
from forerun.optim.restart import load_restart
from forerun.optim.seeding import seeded
from forerun.optim.shape_change import change_shapes
from forerun.optim.tolerance import StepLength
from forerun.optim.training import AverageFunction, Training

OPTIM_DEFAULTS = SolveOptions(method=Picard(), tolerance=StepLength(0.03), check=False)
CARRIED_ON = ("average", "count", "walked", "losses", "changed")  # what a run takes over from the one before it


@final
class Loop:
    """An optimiser loop as it stands, whose gradients are computed many steps at a time.

        loop = Loop(params, torch.optim.Adam(params, 1e-2), loss)
        for event in loop.run(1000):
            print(event.step, event.loss, event.rate)

    does what the plain loop does

        for step in range(1000):
            optimizer.zero_grad()
            with seeded(seed, step):
                loss(params, step).backward()
            optimizer.step()

    Args:
        params: a tensor, a module, or any list, tuple or dict of them. What the optimisers hold of it is trained.
        optimizer: any of torch's kind that takes gradients only, over these parameters; or several, each over its part.
        loss: `loss(params, step)`, a scalar, a function of its arguments alone. It is handed the tree of `params` with
            other tensors in place, modules with these inside. With several optimisers it may return a tuple, one
            loss for each, by which that one's parameters are trained.
        data: `data(step)`, what the loss of a step needs to see (a batch, a camera, noise), drawn with the step's seed;
            the loss is then called `loss(params, step, data)`. Gradients together need it where anything is random.
        scheduler: of `torch.optim.lr_scheduler`, or several in the order of their steps; stepped after every step.
        clip: called with the tensors before a step, gradients in `.grad`:
            `lambda tensors: torch.nn.utils.clip_grad_norm_(tensors, 1.0)`.
        ema: decay of averaged parameters, or a function as `torch.optim.swa_utils.get_swa_avg_fn()`; see `average`.
        seed: of the generators of torch, numpy and python around every evaluation; None leaves them alone.
        barriers: steps before which the parameters change their shape.
        gradients: how the gradients of a window are computed together.
        memory: bytes that the window may take, besides what the evaluation of gradients does; None for no bound.
        options: how to solve, as one object.
        keywords: the options one by one, as for `forerun.solve`. By default the method is `Picard()`, and a number as
            `tolerance` stands for `StepLength(number)`, 0.03 if there is none. `check` is off by default: it estimates
            the deviation from the sequential run, but one number a step, which is all that wide rows get, comes out
            far too small for the paths of optimisers. `callback` is called after every round.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: parameters, optimisers and schedulers do not belong together.
    """

    def __init__(
        self,
        params: Tree,
        optimizer: Optimizer | Sequence[Optimizer],
        loss: LossFunction,
        *,
        data: DataFunction | None = None,
        scheduler: LRScheduler | Sequence[LRScheduler] | None = None,
        clip: ClipFunction = leave_gradients,
        ema: float | AverageFunction | None = None,
        seed: int | None = 0,
        barriers: Barriers = NO_BARRIERS,
        gradients: Gradients = AutoGradients(),
        memory: int | None = None,
        options: SolveOptions | None = None,
        **keywords: Unpack[SolveKeywords],
    ) -> None:
        options = SolveOptions.gather(options, keywords).over(OPTIM_DEFAULTS)
        self.settings = options.settled(tolerance=StepLength)
        optimizers = validation.require_optimizers(optimizer)
        schedulers = validation.require_schedulers(scheduler, optimizers)
        self.parameters = Parameters(params, validation.optimized_tensors(optimizers))
        self.barriers = barriers
        self.step = 0
        self.notes: tuple[str, ...] = ()
        tensors = self.parameters.tensors
        owners = validation.find_owners(tensors, optimizers)
        self._task = LossTask(self.parameters, loss, data, seed, owners)
        self._stepper = OptimizerStepper(tensors, optimizers, schedulers=schedulers, clip=clip)
        self._average_function = validation.averaging_function(ema)
        self._description = validation.describe_loop(self.parameters.labels, optimizers, schedulers, seed)
        self._gradients = gradients
        self._passed_preflight = False
        self._memory = memory
        self._state: Tree = None  # after the last step; None before the first

    @property
    def average(self) -> Tree:
        """The averaged parameters, shaped like `params`; None where no average is kept, or before the first step."""
        if self._state is None or not self._state["average"]:
            return None
        averages = [tensor.clone() for tensor in self._state["average"]]
        return self.build_tree(averages)

    def run(
        self,
        steps: int,
        *,
        resume: Checkpoint | str | Path | None = None,
        callback: Callable[[AcceptedStep], Any] | None = None,
        save: SaveEvery | None = None,
    ) -> LoopRun:
        """Return the run of the next `steps` steps: an iterator over them, which also has their `solution()`.

        Args:
            steps: from where the loop stands, `self.step`; with `resume` the checkpoint's steps are among them.
            resume: a checkpoint of such a run, or its file, to go on from.
            callback: called with every `AcceptedStep`, in order; a true answer stops the run at the end of the round.
            save: when to write a checkpoint, and where: `SaveEvery(100, "run.safetensors")`.

        Raises:
            TypeError: the loss returns something else than a scalar.
            ValueError: the loss is not a function of parameters and step; or the checkpoint is of another loop.
        """
        if not isinstance(steps, int) or steps < 0:
            raise ValueError(f"run takes a number of steps, 0 or more, got {steps!r}; write run(1000)")
        end = self.step + steps
        if resume is None:
            begin = self._first_checkpoint(end)
        else:
            has_barriers = self.barriers is not NO_BARRIERS
            begin = load_restart(
                resume,
                self.parameters,
                self._description,
                end=end,
                has_barriers=has_barriers,
            )
        if begin.step < end:
            self._run_preflight(begin)
        return LoopRun(self, begin, callback=callback, save=save)

    def build_tree(self, tensors: Sequence[Any]) -> Tree:
        """Return tensors, one for each that is trained, shaped like `params`; a module is a dict."""
        return self.parameters.build_tree(tensors)

    def build_process(self, length: int) -> Training:
        """Return the loop up to a step as a process."""
        return Training(
            self._task,
            self._stepper,
            self._gradients,
            length=length,
            average=self._average_function,
        )

    def pass_barrier(self, place: Checkpoint) -> Tree:
        """Return the state to go on from: changed, where a barrier is due and was not passed yet."""
        if not self.barriers.is_due(place.step) or place.state["changed"] == place.step:
            return place.state
        with torch.no_grad(), seeded(self._task.seed, place.step, self.parameters.device):
            self._stepper.install_state(place.state)
            return change_shapes(
                self.barriers,
                place.step,
                place.state,
                parameters=self.parameters,
                locations=self._stepper.locations,
            )

    def hold_state(self, state: Tree, step: int) -> None:
        """Let the user's objects hold a state, and the loop stand before a step."""
        with torch.no_grad():
            self._stepper.install_state(state)
        self._state = state
        self.step = step
        self._versions = [tensor._version for tensor in self.parameters.tensors]

    def require_untouched(self) -> None:
        """Refuse parameters that were changed since `hold_state`, by more than rounding.

        Raises:
            ValueError: which, and where such a change belongs.
        """
        for index, tensor in enumerate(self.parameters.tensors):
            if tensor._version == self._versions[index]:
                continue
            if not torch.allclose(tensor, self._state["params"][index], rtol=1e-3, atol=1e-6):
                raise ValueError(
                    f"{self.parameters.labels[index]} was changed while step {self.step - 1} was looked at; a run does "
                    "not go on from there. Project after a step by "
                    "optimizer.register_step_post_hook(lambda optimizer, *_: clamp()), change shapes by barriers=, or "
                    "stop with a break, change, and call run again"
                )

    def _first_checkpoint(self, end: int) -> Checkpoint:
        """Return where a run begins: at what the user's objects hold now."""
        with torch.no_grad():
            state = self.build_process(end).initial_state(self._description)
        if self._state is not None:
            state |= {name: self._state[name] for name in CARRIED_ON}
        return Checkpoint(self.step, end, state)

    def _run_preflight(self, begin: Checkpoint) -> None:
        """Evaluate and take the first step twice, and choose how gradients are computed: once for a loop."""
        if self._passed_preflight:
            return
        params = begin.state["params"]
        with torch.no_grad():
            batch = preflight.require_pure_loss(self._task, begin.step, params)
            self._task = replace(self._task, loss_count=preflight.count_losses(batch, self._stepper))
            try:
                next_state = preflight.require_repeatable_step(self._stepper, begin.state, batch)
            finally:
                self._stepper.install_state(begin.state)
            stop = min(begin.step + 2, begin.length)
            steps = torch.arange(begin.step, stop, device=params[0].device)
            rows = [torch.stack([tensor] * len(steps)) for tensor in params]
            self._gradients, note = choose_gradients(self._gradients, self._task, steps, rows)
        self._passed_preflight = True
        self.notes = () if note is None else (note,)
        if self._memory is not None:
            width = fitting_width(self._memory, params, next_state)
            window = Within(self.settings.window, width)
            self.settings = replace(self.settings, window=window)
