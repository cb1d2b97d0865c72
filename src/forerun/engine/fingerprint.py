"""Fingerprint: by what a checkpoint is known again as one of the same process and the same first state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from forerun.engine.methods.evaluations import StepEvaluations
from forerun.engine.numerics.checksum import compute_checksum
from forerun.engine.process import Process
from forerun.engine.rows import Problem

DIGESTED_ELEMENTS: Final = 2**16  # of the first input: enough to tell two apart, and no time for large ones
SAME_OUTPUT: Final = 1e-3  # of the largest value: kernels differ by less, other weights by more
SAME_HALF_OUTPUT: Final = 0.05  # likewise, in half precision and under autocast
SAME_ZERO: Final = 1e-6  # of the largest input: outputs that are nothing but rounding


@dataclass(frozen=True)
class Fingerprint:
    """What is remembered of the run that wrote a checkpoint.

    Attributes:
        process: name of the class of the process.
        first_input: checksum of the input of the run's first state; None where the run did not begin there.
        step: a step that was evaluated.
        evaluated_input: the row that it was evaluated at; None where nothing was.
        output: the row that came of it.
    """

    process: str
    first_input: int | None = None
    step: int = 0
    evaluated_input: Tensor | None = None
    output: Tensor | None = None

    @classmethod
    def from_process(cls, process: Process, first_input: Tensor | None) -> Fingerprint:
        """Return the fingerprint of a run that begins, before anything was evaluated."""
        digest = None if first_input is None else digest_row(first_input)
        return cls(type(process).__qualname__, digest)

    def describe_difference(self, problem: Problem, first_input: Tensor | None) -> str | None:
        """Say how a process differs from that of the run; None where it does not. Evaluates one step.

        Args:
            problem: the process that is to go on.
            first_input: of the state that the run is said to have begun with; None where that is not said.
        """
        name = type(problem.process).__qualname__
        if name != self.process:
            return f"it is of a process {self.process}, and this one is a {name}"
        digest = self.first_input
        if first_input is not None and digest not in (None, digest_row(first_input)):
            return "its run began with another state than the one that is passed"
        return self._describe_output(problem)

    def _describe_output(self, problem: Problem) -> str | None:
        """Say whether the step that was evaluated then gives something else now."""
        row, output = self.evaluated_input, self.output
        if row is None or output is None:
            return None
        output_now = problem.evaluate(problem.step_range(self.step, self.step + 1), row.unsqueeze(0))[0]
        if output_now.shape != output.shape:
            return f"evaluate gave rows {list(output.shape)} for a step, and gives {list(output_now.shape)} now"
        finite = output.isfinite() & output_now.isfinite()
        change = float(_largest_value((output_now - output).where(finite, 0.0)))
        size = float(_largest_value(output.where(finite, 0.0)))
        share = _choose_share(problem)
        if change <= share * size + SAME_ZERO * float(_largest_value(row.nan_to_num())):
            return None
        return (
            f"evaluate gives something else for step {self.step} than it gave then, by {change:.2g} for values of up "
            f"to {size:.2g}: its weights, its data or its noise are others"
        )


def update_fingerprint(fingerprint: Fingerprint, evaluations: StepEvaluations | None) -> Fingerprint:
    """Return the fingerprint with the first of some evaluations in place of the one that it has."""
    if evaluations is None or not len(evaluations):
        return fingerprint
    return Fingerprint(
        process=fingerprint.process,
        first_input=fingerprint.first_input,
        step=evaluations.start,
        evaluated_input=evaluations.inputs[0],
        output=evaluations.outputs[0],
    )


def digest_row(row: Tensor) -> int:
    """Return a checksum of a row, of some of its elements where it has many."""
    flat = row.detach().reshape(-1)
    stride = max(-(-len(flat) // DIGESTED_ELEMENTS), 1)
    return compute_checksum(flat[::stride].contiguous())


def _choose_share(problem: Problem) -> float:
    """Return by what share of their size outputs may differ for rounding."""
    is_rounded = problem.input_layout.is_rounded or problem.output_layout.is_rounded
    is_cast = torch.is_autocast_enabled(problem.input_layout.device.type)
    return SAME_HALF_OUTPUT if is_rounded or is_cast else SAME_OUTPUT


def _largest_value(values: Tensor) -> Tensor:
    return values.abs().amax() if values.numel() else values.new_zeros(())
