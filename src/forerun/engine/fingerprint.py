"""Fingerprint: by what a checkpoint is known again as one of the same process and the same first state."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.methods.evaluations import StepEvaluations
from forerun.engine.numerics.checksum import compute_checksum
from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.engine.rows import Problem

DIGESTED_ELEMENTS: Final = 2**16  # of a tensor: enough to tell two apart, and no time for large ones
SAMPLED_MOVES: Final = 2**10  # elements of a tensor whose moves are remembered
SAME_OUTPUT: Final = 1e-3  # of the largest value: kernels differ by less, other weights by more
SAME_HALF_OUTPUT: Final = 0.05  # likewise, in half precision and under autocast
SAME_ZERO: Final = 1e-6  # of the largest input: outputs that are nothing but rounding


@dataclass(frozen=True)
class Fingerprint:
    """What is remembered of the run that wrote a checkpoint.

    Attributes:
        process: name of the class of the process.
        first_state: checksum of the run's first state; None where the run did not begin there.
        steps: those whose evaluation is remembered: the first one of the run, and one of the last round.
        evaluated_inputs: the rows that they were evaluated at, `(len(steps), *batch, D)`; None where nothing was.
        outputs: the rows that came of it.
        moves: how far `advance` moves the state of the checkpoint with the last of these outputs: of each tensor of
            floating numbers some elements; None where it was not asked.
    """

    process: str
    first_state: int | None = None
    steps: tuple[int, ...] = ()
    evaluated_inputs: Tensor | None = None
    outputs: Tensor | None = None
    moves: tuple[Tensor, ...] | None = None

    @classmethod
    def from_process(cls, process: Process, first_state: Tree | None) -> Fingerprint:
        """Return the fingerprint of a run that begins, before anything was evaluated."""
        digest = None if first_state is None else digest_state(first_state)
        return cls(type(process).__qualname__, digest)

    def add_evaluation(self, evaluations: StepEvaluations | None) -> Fingerprint:
        """Return the fingerprint with the first of some evaluations, after the first of the run."""
        if evaluations is None or not len(evaluations):
            return self
        row, output = evaluations.inputs[:1], evaluations.outputs[:1]
        if self.evaluated_inputs is None or self.outputs is None:
            return replace(self, steps=(evaluations.start,), evaluated_inputs=row.clone(), outputs=output.clone())
        return replace(
            self,
            steps=(self.steps[0], evaluations.start),
            evaluated_inputs=torch.cat([self.evaluated_inputs[:1], row]),
            outputs=torch.cat([self.outputs[:1], output]),
        )

    def add_moves(self, problem: Problem, step: int, state: Tree) -> Fingerprint:
        """Return the fingerprint with what `advance` makes of the state of a checkpoint; one step of it."""
        if self.outputs is None or step >= problem.length:
            return replace(self, moves=None)
        return replace(self, moves=_measure_moves(problem, step, state, self.outputs[-1]))

    def describe_difference(self, problem: Problem, place: tuple[int, Tree], first_state: Tree | None) -> str | None:
        """Say how a process differs from that of the run; None where it does not. Evaluates two steps in one call.

        Args:
            problem: the process that is to go on.
            place: step and state of the checkpoint.
            first_state: that the run is said to have begun with; None where that is not said.
        """
        name = type(problem.process).__qualname__
        if name != self.process:
            return f"it is of a process {self.process}, and this one is a {name}"
        if first_state is not None and self.first_state not in (None, digest_state(first_state)):
            return "its run began with another state than the one that is passed"
        return self._describe_outputs(problem) or self._describe_moves(problem, place)

    def _describe_outputs(self, problem: Problem) -> str | None:
        """Say whether a step that was evaluated then gives something else now."""
        rows, outputs = self.evaluated_inputs, self.outputs
        if rows is None or outputs is None:
            return None
        steps = torch.tensor(self.steps, device=rows.device)
        outputs_now = problem.evaluate(steps, rows)
        if problem.excluded is not None:
            outputs = outputs.masked_fill(problem.excluded.unsqueeze(-1), 0.0)
        if outputs_now.shape != outputs.shape:
            return (
                f"evaluate gave rows {list(outputs.shape[1:])} for a step, and gives {list(outputs_now.shape[1:])} now"
            )
        share = _choose_share(problem)
        for step, row, output, output_now in zip(self.steps, rows, outputs, outputs_now, strict=True):
            change, size = _compare_values(output, output_now)
            if not change <= share * size + SAME_ZERO * float(_largest_value(row.nan_to_num())):
                return (
                    f"evaluate gives something else for step {step} than it gave then, by {change:.2g} for values of "
                    f"up to {size:.2g}: its weights, its data or its noise are others"
                )
        return None

    def _describe_moves(self, problem: Problem, place: tuple[int, Tree]) -> str | None:
        """Say whether `advance` takes the state of the checkpoint elsewhere now."""
        if self.moves is None or self.outputs is None:
            return None
        step, state = place
        moves_now = _measure_moves(problem, step, state, self.outputs[-1])
        if moves_now is None or len(moves_now) != len(self.moves):
            return f"advance gives a state of another kind at step {step} than it gave then"
        sizes = [float(_largest_value(leaf.nan_to_num())) for leaf in _float_tensors(state)]
        share = _choose_share(problem)
        for move, move_now, state_size in zip(self.moves, moves_now, sizes, strict=True):
            change, size = _compare_values(move, move_now)
            if not change <= share * size + SAME_ZERO * state_size:
                return (
                    f"advance moves the state elsewhere at step {step} than it did then, by {change:.2g} for moves of "
                    f"up to {size:.2g}: its settings, such as rates or schedules, are others"
                )
        return None


def digest_state(state: Tree) -> int:
    """Return a checksum of a state: of its tensors, of some elements where they have many, and of its plain values."""
    leaves, spec = pytree.tree_flatten(state)
    words = [str(spec), *map(_digest_leaf, leaves)]
    return zlib.crc32(" ".join(words).encode())


def _digest_leaf(leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return str(_digest_tensor(leaf))
    is_plain = isinstance(leaf, bool | int | float | str | None)
    return repr(leaf) if is_plain else type(leaf).__qualname__


def _digest_tensor(tensor: Tensor) -> int:
    flat = tensor.detach().reshape(-1)
    stride = max(-(-len(flat) // DIGESTED_ELEMENTS), 1)
    return compute_checksum(flat[::stride].contiguous())


def _measure_moves(
    problem: Problem,
    step: int,
    state: Tree,
    output: Tensor,
) -> tuple[Tensor, ...] | None:
    """Return how far `advance` moves some elements of a state; None where it fails, or gives another kind of state."""
    try:
        next_state = problem.advance(step, state, output)
    except Exception:  # of the user's own code: it is raised, or not, where the run takes the step
        return None
    pairs = list(zip(_float_tensors(state), _float_tensors(next_state), strict=False))
    if any(leaf.shape != next_leaf.shape for leaf, next_leaf in pairs):
        return None
    moves = []
    for leaf, next_leaf in pairs:
        stride = max(-(-leaf.numel() // SAMPLED_MOVES), 1)
        moves.append(next_leaf.detach().reshape(-1)[::stride] - leaf.detach().reshape(-1)[::stride])
    return tuple(moves)


def _float_tensors(state: Tree) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _compare_values(values: Tensor, values_now: Tensor) -> tuple[float, float]:
    """Return how far apart values are at most, and how large they were, in what was finite both times."""
    finite = values.isfinite() & values_now.isfinite()
    change = _largest_value((values_now - values).where(finite, 0.0))
    return float(change), float(_largest_value(values.where(finite, 0.0)))


def _choose_share(problem: Problem) -> float:
    """Return by what share of their size outputs may differ for rounding."""
    is_rounded = problem.input_layout.is_rounded or problem.output_layout.is_rounded
    is_cast = torch.is_autocast_enabled(problem.input_layout.device.type)
    return SAME_HALF_OUTPUT if is_rounded or is_cast else SAME_OUTPUT


def _largest_value(values: Tensor) -> Tensor:
    return values.abs().amax() if values.numel() else values.new_zeros(())
