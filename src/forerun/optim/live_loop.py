"""LiveLoop: the user's own objects as a run meets them: read, installed, stepped, and watched for changes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import torch

from forerun.engine.backends import Local
from forerun.engine.checkpoint import Checkpoint
from forerun.engine.methods import Sequential
from forerun.engine.numerics.tree import Tree
from forerun.engine.options import SolveSettings
from forerun.engine.windows import Sliding, Within
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.optim import validation
from forerun.optim.auto_gradients import choose_gradients
from forerun.optim.gradient_batch import GradientBatch
from forerun.optim.gradients import OneByOne
from forerun.optim.live_changes import name_changed_state, name_difference, read_structure
from forerun.optim.loop_parts import LoopParts
from forerun.optim.loss_task import LossTask
from forerun.optim.memory import fitting_width
from forerun.optim.optimizer_stepper import OptimizerStepper
from forerun.optim.own_gradients import OwnGradients
from forerun.optim.parameters import Parameters
from forerun.optim.rehearsal import rehearse_loop, require_agreement, require_trained
from forerun.optim.replica import ReplicaDiffers
from forerun.optim.seeding import seeded
from forerun.optim.shape_change import change_shapes
from forerun.optim.tensor_traffic import TensorMark, find_changed_mark, renew_marks
from forerun.optim.training import Training

CARRIED_ON = ("average", "count", "walked", "losses", "changed")  # what a run takes over from the one before it
VMAP_ROUNDINGS = 1e5  # gradients together are sums in another order
LEFT_OUT = "The witness was left out (witness=False): nothing was held against your own loss and backward."


@final
class LiveLoop:
    """The objects of a loop, and the process that they make.

    Args:
        parts: what the user passed.
        settings: how to solve.

    Attributes:
        parameters: the trained tensors.
        step: the step that the objects stand before.
        state: the state after the last step; None before the first.
        notes: sentences for the solution.
        retains: whether the loss lets a tensor retain its gradient, to be read after the step.
        witnessed: steps that the rehearsal witnessed.
    """

    def __init__(self, parts: LoopParts, settings: SolveSettings) -> None:
        self.barriers = parts.barriers
        self.settings = settings
        self.step = 0
        self.state: Tree = None
        self.witnessed = 0
        self.agreed = False
        self.notes: tuple[str, ...] = ()
        self._own: OwnGradients | None = None
        self._marks: list[TensorMark] = []
        self._is_rehearsed = False
        self._parts = parts
        self._build()

    @property
    def is_plain(self) -> bool:
        """Whether the user's own loss is called, step after step."""
        return self._own is not None

    def run_settings(self) -> SolveSettings:
        """Return how to solve: in order, and on this rank, where the user's own loss is called."""
        if self._own is None:
            return self.settings
        return replace(self.settings, method=Sequential(1), window=Sliding(1), backend=Local())

    def build_tree(self, tensors: Sequence[Any]) -> Tree:
        """Return tensors, one for each that is trained, shaped like the user's parameters; a module is a dict."""
        return self.parameters.build_tree(tensors)

    def build_process(self, length: int) -> Training:
        """Return the loop up to a step as a process."""
        return Training(
            self._task,
            self._stepper,
            self._gradients,
            length=length,
            average=self._parts.average,
            own=self._own,
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

    def read_state(self, carried: Tree) -> Tree:
        """Return the state that the user's objects hold now; what they do not hold comes from a carried state."""
        with torch.no_grad():
            state = self.build_process(0).initial_state(self.description)
        if carried is None:
            return state
        if carried["average"] and len(carried["average"]) != len(state["params"]):
            raise ValueError(
                "which tensors are trained has changed, and averages are kept of those that were; build another "
                "Loop(params, optimizer, loss, ema=...) for the steps that follow"
            )
        return state | {name: carried[name] for name in CARRIED_ON}

    def hold_state(self, state: Tree, step: int, output: Tree = None) -> None:
        """Let the user's objects hold a state, and the loop stand before a step.

        Args:
            state: the state.
            step: the step that follows it.
            output: what the step before it was taken with; its gradients are held too.
        """
        with torch.no_grad():
            self._stepper.install_state(state)
            if output is not None:
                _, used = self.build_process(0).split_scalars(output)
                self._stepper.show_gradients(output["params"], used)
        self.state = state
        self.step = step

    def find_change(self, state: Tree) -> str | None:
        """Return what messages call that which the user changed since the objects held a state; None for nothing."""
        structure = read_structure(self.parameters.tree, self._parts.optimizers)
        difference = name_difference(self._structure, structure)
        if difference is not None:
            return difference
        changed = name_changed_state(state, self._stepper.peek_state(), self.parameters.labels)
        if changed is not None:
            return changed
        tensor = find_changed_mark(self._marks)
        if tensor is None:
            return None
        return f"a tensor of shape {list(tensor.shape)} that the loss reads"

    def adopt_changes(self, state: Tree) -> Tree:
        """Return the state with all that the user changed in it; where the loop is built otherwise now, build it so."""
        difference = self.find_new_structure()
        if difference is not None:
            self._build()
            self.give_way(f"{difference} has changed in the course of the run")
        self._marks = renew_marks(self._marks)
        return self.read_state(state)

    def find_new_structure(self) -> str | None:
        """Return what messages call that which the loop is built of otherwise now; None for nothing."""
        return name_difference(self._structure, read_structure(self.parameters.tree, self._parts.optimizers))

    def require_marks(self) -> None:
        """Refuse a hook that changes what the loss reads while steps are taken ahead.

        Raises:
            ReplicaDiffers: a tensor was frozen by a round.
            ValueError: a tensor from outside was changed by it.
        """
        if self.is_plain:
            return
        require_trained(self.parameters.tensors)
        tensor = find_changed_mark(self._marks)
        if tensor is not None:
            raise ValueError(
                f"a hook has changed a tensor of shape {list(tensor.shape)} that the loss reads, as often as steps "
                "were tried; change it in the body of the loop instead: for event in loop.run(steps): update()"
            )

    def begin_run(self, end: int) -> Checkpoint:
        """Return where a run begins: at what the user's objects are, and hold, now."""
        if self.find_new_structure() is not None:
            self._build()
        return Checkpoint(self.step, end, self.read_state(self.state))

    def prepare(self, begin: Checkpoint) -> None:
        """Rehearse the first step, and choose how gradients are computed: once for a loop, unless it changes."""
        if self._is_rehearsed:
            return
        self._is_rehearsed = True
        try:
            self._rehearse(begin)
        except ReplicaDiffers as difference:
            self.give_way(difference.reason)

    def witness_step(self, step: int, inputs: Tree, output: Tree) -> None:
        """Hold what a round gave for a step against the user's own loss, at the same parameters.

        Raises:
            ReplicaDiffers: they disagree.
        """
        losses, used = self.build_process(0).split_scalars(output)
        batch = GradientBatch(
            gradients=[gradient.unsqueeze(0) for gradient in output["params"]],
            losses=losses.unsqueeze(0),
            used=losses.new_tensor([used]),
        )
        try:
            self._require_agreement(step, inputs, batch)
        except ReplicaDiffers as difference:
            raise ReplicaDiffers(difference.reason, is_late=not self._agrees_now(step, inputs)) from None

    def _agrees_now(self, step: int, inputs: Tree) -> bool:
        """Return whether the replica would agree with the user's own loss now: then what it reads has changed."""
        rows = [tensor.unsqueeze(0) for tensor in inputs["params"]]
        batch = OneByOne().compute_gradients(self._task, torch.tensor([step]), rows)
        try:
            self._require_agreement(step, inputs, batch)
        except ReplicaDiffers:
            return False
        return True

    def _require_agreement(self, step: int, inputs: Tree, batch: GradientBatch) -> None:
        is_exact = isinstance(self._gradients, OneByOne)
        roundings = self._roundings if is_exact else VMAP_ROUNDINGS
        require_agreement(
            self._task,
            self._stepper,
            step,
            params=inputs["params"],
            replica_batch=batch,
            roundings=roundings,
        )

    def give_way(self, reason: str) -> None:
        """Go on with the user's own loop, and say why.

        Raises:
            WitnessDisagrees: with `strict=True`.
        """
        if self.is_plain:
            return
        sentence = f"A replica cannot stand for this loop: {reason}."
        if self.settings.strict:
            raise WitnessDisagrees(f"{sentence} Write the plain loop, or strict=False, which takes it.")
        self._own = OwnGradients(self._stepper)
        note = f"{sentence} The steps are taken in order, with your own loss and backward."
        self.notes = (*self.notes, note)
        warnings.warn(note, WitnessWarning, stacklevel=2)

    def _build(self) -> None:
        """Build the process of what the user's objects are now."""
        parts = self._parts
        optimizers, schedulers = parts.optimizers, parts.schedulers
        self.parameters = Parameters(parts.params, validation.optimized_tensors(optimizers))
        tensors = self.parameters.tensors
        owners = validation.find_owners(tensors, optimizers)
        self._task = LossTask(self.parameters, parts.loss, parts.data, parts.seed, owners)
        self._stepper = OptimizerStepper(tensors, optimizers, schedulers=schedulers, clip=parts.clip)
        self.description = validation.describe_loop(self.parameters.labels, optimizers, schedulers, parts.seed)
        self._structure = read_structure(self.parameters.tree, optimizers)
        self._gradients = parts.gradients
        self._own = None
        self._marks = []
        self._roundings = 0.0
        self.notes = ()
        self.agreed = False
        self.retains = False
        self._is_rehearsed = False

    def _rehearse(self, begin: Checkpoint) -> None:
        rehearsal = rehearse_loop(self._task, self._stepper, begin, self.settings.witness)
        self._task = rehearsal.task
        self._marks = list(rehearsal.marks)
        self._roundings = rehearsal.roundings
        self.retains = rehearsal.retains
        self.witnessed = rehearsal.witnessed
        steps = torch.arange(begin.step, min(begin.step + 2, begin.length), device=self.parameters.device)
        states = [begin.state, rehearsal.next_state][: len(steps)]
        rows = [torch.stack(tensors) for tensors in zip(*(state["params"] for state in states), strict=True)]
        with torch.no_grad():
            self._gradients, note = choose_gradients(self._gradients, self._task, steps, rows)
        notes = [note, LEFT_OUT if self.settings.witness is None else None]
        self.notes = tuple(sentence for sentence in notes if sentence is not None)
        if self._parts.memory is not None:
            width = fitting_width(self._parts.memory, begin.state["params"], rehearsal.next_state)
            self.settings = replace(self.settings, window=Within(self.settings.window, width))
