"""Loop: an optimiser loop, run ahead of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack, final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from forerun.engine.checkpoint import Checkpoint
from forerun.engine.methods import Picard
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveKeywords, SolveOptions, SolveSettings
from forerun.optim import validation
from forerun.optim.auto_gradients import AutoGradients
from forerun.optim.barriers import NO_BARRIERS, Barriers
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.gradients import Gradients
from forerun.optim.live_loop import LiveLoop
from forerun.optim.loop_parts import LoopParts
from forerun.optim.loop_run import LoopRun
from forerun.optim.loss_task import DataFunction
from forerun.optim.optimizer_stepper import ClipFunction, leave_gradients
from forerun.optim.parameters import LossFunction
from forerun.optim.restart import load_restart
from forerun.optim.tolerance import StepLength
from forerun.optim.training import AverageFunction, Training

OPTIM_DEFAULTS = SolveOptions(method=Picard(), tolerance=StepLength(0.03), check=False)


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
        optimizers = validation.require_optimizers(optimizer)
        parts = LoopParts(
            params=list(params) if isinstance(params, Iterator) else params,  # `module.parameters()`
            optimizers=optimizers,
            loss=loss,
            data=data,
            schedulers=validation.require_schedulers(scheduler, optimizers),
            clip=clip,
            average=validation.averaging_function(ema),
            seed=seed,
            barriers=barriers,
            gradients=gradients,
            memory=memory,
        )
        self._live = LiveLoop(parts, options.settled(tolerance=StepLength))

    @property
    def step(self) -> int:
        """The step that the loop stands before; the next run begins there."""
        return self._live.step

    @step.setter
    def step(self, step: int) -> None:
        self._live.step = step

    @property
    def settings(self) -> SolveSettings:
        """How the loop is solved."""
        return self._live.settings

    @property
    def average(self) -> Tree:
        """The averaged parameters, shaped like `params`; None where no average is kept, or before the first step."""
        state = self._live.state
        if state is None or not state["average"]:
            return None
        averages = [tensor.clone() for tensor in state["average"]]
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
        live = self._live
        end = live.step + steps
        if resume is None:
            begin = live.begin_run(end)
        else:
            begin = load_restart(
                resume,
                live.parameters,
                live.description,
                end=end,
                has_barriers=live.barriers is not NO_BARRIERS,
            )
        if begin.step < end:
            live.prepare(begin)
        return LoopRun(live, begin, callback=callback, save=save, holds_begin=resume is None)

    def build_tree(self, tensors: Sequence[Any]) -> Tree:
        """Return tensors, one for each that is trained, shaped like `params`; a module is a dict."""
        return self._live.build_tree(tensors)

    def build_process(self, length: int) -> Training:
        """Return the loop up to a step as a process."""
        return self._live.build_process(length)
