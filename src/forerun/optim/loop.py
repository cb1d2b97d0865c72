"""Loop: an optimiser loop, run ahead of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from forerun.engine.backends import Backend, Local
from forerun.engine.check import Check
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.guesses import Guess, Hold
from forerun.engine.methods import Method, Picard
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.options import SolveSettings, ignore_event
from forerun.engine.progress import Progress, Silent
from forerun.engine.tolerance import Tolerance
from forerun.engine.windows import Auto, Window, Within
from forerun.optim import preflight as probe
from forerun.optim import validation as front
from forerun.optim.barriers import NOWHERE, Barriers, changed
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.gradients import Gradients
from forerun.optim.optimizer_stepper import Clip, OptimizerStepper
from forerun.optim.parameters import Loss, Parameters
from forerun.optim.preflight import AutoGradients
from forerun.optim.running import LoopRun, loaded
from forerun.optim.seeding import seeded
from forerun.optim.task import Data, LossTask
from forerun.optim.tolerance import StepLength
from forerun.optim.training import Average, Training

ROWS, STATES = 16, 2  # rows of parameters, and states, that the engine holds for every step of a window


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
        params: a tensor, a module, or any list, tuple or dict of them. Trained is what the optimisers hold of it.
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
        method: see `forerun.solve`, as for all that follows.
        tolerance: by default in units of the mean length of a step.
        check: estimates the deviation from the sequential run; off by default, as one number a step, which is all that
            wide rows get, comes out far too small for the paths of optimisers.
        memory: bytes that the window may take, besides what the evaluation of gradients does; None for no bound.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: parameters, optimisers and schedulers do not belong together.
    """

    def __init__(
        self,
        params: Tree,
        optimizer: Optimizer | Sequence[Optimizer],
        loss: Loss,
        *,
        data: Data | None = None,
        scheduler: LRScheduler | Sequence[LRScheduler] | None = None,
        clip: Clip = lambda tensors: None,
        ema: float | Average | None = None,
        seed: int | None = 0,
        barriers: Barriers = NOWHERE,
        gradients: Gradients = AutoGradients(),
        method: Method = Picard(),
        window: Window = Auto(),
        tolerance: Tolerance = StepLength(0.03),
        check: bool | Check = False,
        guess: Guess = Hold(),
        backend: Backend = Local(),
        progress: Progress = Silent(),
        memory: int | None = None,
    ) -> None:
        optimisers = front.optimizers(optimizer)
        schedulers = front.schedulers(scheduler, optimisers)
        self.parameters = Parameters(params, front.trained(optimisers))
        owners = front.owners(self.parameters.tensors, optimisers)
        self.barriers = barriers
        self.step = 0
        self.notes: tuple[str, ...] = ()
        self._task = LossTask(self.parameters, loss, data, seed, owners)
        self._bench = OptimizerStepper(self.parameters.tensors, optimisers, schedulers=schedulers, clip=clip)
        self._average = front.average(ema)
        self._of = front.described(self.parameters.labels, optimisers, schedulers, seed)
        self._gradients = gradients
        self._settled: Gradients | None = None  # what the first run found to do for `gradients`
        checked = (Check() if check else None) if isinstance(check, bool) else check
        self.settings = SolveSettings(
            method=method,
            window=window,
            tolerance=tolerance,
            check=checked,
            guess=guess,
            backend=backend,
            progress=progress,
            callback=ignore_event,
        )
        self._memory = memory
        self._state: Tree = None  # after the last step; None before the first

    @property
    def average(self) -> Tree:
        """The averaged parameters, shaped like `params`; None where none are kept, or before the first step."""
        kept = self._state and self._state["average"]
        return self.tree([tensor.clone() for tensor in kept]) if kept else None

    def run(
        self,
        steps: int,
        *,
        resume: Checkpoint | str | Path | None = None,
        callback: Callable[[AcceptedStep], Any] | None = None,
        save: SaveEvery | None = None,
    ) -> LoopRun:
        """The next `steps` steps: an iterator over them, which also has their `solution()`.

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
            raise ValueError(f"run({steps!r}) is no number of steps; pass a whole number, 0 or more")
        end = self.step + steps
        at = self._start(end) if resume is None else self._resumed(resume, end)
        if at.step < end:
            self._tried(at)
        return LoopRun(self, at, callback=callback, save=save)

    def tree(self, found: Sequence[Tensor]) -> Tree:
        """Tensors, one for each that is trained, shaped like `params`; a module is a dict."""
        return self.parameters.tree(found)

    def changed(self, at: Checkpoint) -> Tree:
        """The state to go on from: changed, where a barrier is due and was not passed yet."""
        if not self.barriers.due(at.step) or at.state["changed"] == at.step:
            return at.state
        with torch.no_grad(), seeded(self._task.seed, at.step, self.parameters.device):
            self._bench.install(at.state)
            return changed(self.barriers, at.step, at.state, parameters=self.parameters, owned=self._bench.places)

    def hold(self, state: Tree, step: int) -> None:
        """Let the user's objects hold a state, and the loop stand before a step."""
        with torch.no_grad():
            self._bench.install(state)
        self._state, self.step = state, step
        self._versions = [tensor._version for tensor in self.parameters.tensors]

    def untouched(self) -> None:
        """Refuse parameters that were changed since `hold`, by more than rounding.

        Raises:
            ValueError: which, and where such a change belongs.
        """
        for index, (label, tensor) in enumerate(zip(self.parameters.labels, self.parameters.tensors, strict=True)):
            held = self._state["params"][index]
            if tensor._version != self._versions[index] and not torch.allclose(tensor, held, rtol=1e-3, atol=1e-6):
                raise ValueError(
                    f"{label} was changed while step {self.step - 1} was looked at; a run does not go on from there. "
                    "Project after a step by optimizer.register_step_post_hook(lambda optimizer, *_: clamp()), change "
                    "shapes by barriers=, or stop with a break, change, and call run again"
                )

    def process(self, length: int) -> Training:
        """The loop up to a step."""
        gradients = self._settled or self._gradients
        return Training(self._task, self._bench, gradients, length=length, average=self._average)

    def _start(self, end: int) -> Checkpoint:
        """From what the user's objects hold now."""
        with torch.no_grad():
            state = self.process(end).start(self._of)
        if self._state is not None:
            state |= {name: self._state[name] for name in ("average", "count", "walked", "losses", "changed")}
        return Checkpoint(self.step, end, state)

    def _resumed(self, resume: Checkpoint | str | Path, end: int) -> Checkpoint:
        at = resume if isinstance(resume, Checkpoint) else Checkpoint.load(resume)
        if not loaded(at.state):
            raise ValueError("the checkpoint is of no optimiser loop; resume with what Loop.run(..., save=) wrote")
        if at.state["of"] != self._of:
            raise ValueError(
                f"the checkpoint is of another loop: of {at.state['of']}; this one is {self._of}. Resume with the loop "
                "that wrote it, or leave resume out"
            )
        shapes, own = (
            [list(each.shape) for each in at.state["params"]],
            [list(t.shape) for t in self.parameters.tensors],
        )
        if shapes != own and self.barriers is NOWHERE:
            raise ValueError(
                f"the checkpoint holds parameters of shapes {shapes}, but the loop's are {own}; resume with the loop "
                "that wrote it"
            )
        if at.step > end:
            raise ValueError(
                f"the checkpoint is at step {at.step}, behind the end of this run at {end}; run({at.step}) or more"
            )
        return replace(at, length=end)

    def _tried(self, at: Checkpoint) -> None:
        """Evaluate and take the first step twice, and settle how gradients are computed: once for a loop."""
        if self._settled is not None:
            return
        params = at.state["params"]
        with torch.no_grad():
            found = probe.pure(self._task, at.step, params)
            self._task = replace(self._task, count=probe.counted(found, self._bench))
            try:
                after = probe.repeatable(self._bench, at.state, found)
            finally:
                self._bench.install(at.state)
            steps = torch.arange(at.step, min(at.step + 2, at.length), device=params[0].device)
            rows = [torch.stack([tensor] * len(steps)) for tensor in params]
            self._settled, note = probe.chosen(self._gradients, self._task, steps, rows)
        self.notes = () if note is None else (note,)
        if self._memory is not None:
            within = Within(self.settings.window, _fitting(self._memory, params, after))
            self.settings = replace(self.settings, window=within)


def _fitting(memory: int, params: Sequence[Tensor], state: Tree) -> int:
    """Steps of a window whose states and rows fit some bytes; one at least."""
    own = sum(tensor.numel() * tensor.element_size() for tensor in tree_tensors(state))
    row = sum(tensor.numel() for tensor in params) * max(4, *(tensor.element_size() for tensor in params))
    return max(memory // (STATES * own + ROWS * row), 1)
