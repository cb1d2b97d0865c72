"""AcceptedRound: what the check keeps of a round until the shadow follows the steps that were accepted in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from forerun.engine.methods.base import WindowUpdate
from forerun.engine.methods.evaluations import StepEvaluations
from forerun.engine.numerics.tree import Tree


@dataclass(frozen=True)
class EvaluatedWindow:
    """What was evaluated in a round, and what its sweep took for the outputs of the next one.

    Attributes:
        evaluations: of the window, before the first step that met something not finite.
        predicted: the outputs of the same steps, as the sweep corrected them.
    """

    evaluations: StepEvaluations
    predicted: Tensor

    @classmethod
    def from_update(
        cls,
        update: WindowUpdate,
        sound: int,
    ) -> EvaluatedWindow:
        """Return the first `sound` steps of a window."""
        evaluations, outputs = update.evaluations, update.outputs
        if sound < len(evaluations):
            evaluations, outputs = evaluations.select_steps(evaluations.start, sound), outputs[:sound]
        return cls(evaluations, outputs)

    def __len__(self) -> int:
        return len(self.evaluations)

    @property
    def start(self) -> int:
        """The first step."""
        return self.evaluations.start

    @property
    def stop(self) -> int:
        """The step after the last."""
        return self.evaluations.start + len(self.evaluations)

    @property
    def predictions(self) -> StepEvaluations:
        """The inputs, with the outputs as the sweep corrected them."""
        return replace(self.evaluations, outputs=self.predicted)


@dataclass(frozen=True)
class AcceptedRound:
    """A round with the leading steps of its window that were accepted.

    Attributes:
        window: what was evaluated.
        inputs: the new path, from the first step of the window on.
        moves: how far each of them lies from the input that was evaluated.
        slopes: those that the outputs were corrected with; None for zero.
        accepted: number of accepted steps.
        restart_state: the accepted state after them, where that is a restart point.
    """

    window: EvaluatedWindow
    inputs: Tensor
    moves: Tensor
    slopes: Tensor | None
    accepted: int
    restart_state: Tree = None

    @property
    def start(self) -> int:
        """The first step."""
        return self.window.start

    @property
    def stop(self) -> int:
        """The step after the last one that was accepted."""
        return self.window.start + self.accepted

    @property
    def base(self) -> Tensor | None:
        """Slopes that the outputs of the accepted steps were corrected with; None for zero."""
        return None if self.slopes is None else self.slopes[: self.accepted]

    @property
    def base_shape(self) -> tuple[int, ...] | None:
        """Shape of the slopes of one step."""
        return None if self.slopes is None else tuple(self.slopes.shape[1:])

    @property
    def element_count(self) -> int:
        """How many numbers the round holds."""
        evaluations = self.window.evaluations
        tensors = [evaluations.inputs, evaluations.outputs, self.window.predicted, self.inputs, self.moves]
        if self.slopes is not None:
            tensors.append(self.slopes)
        return sum(tensor.numel() for tensor in tensors)
