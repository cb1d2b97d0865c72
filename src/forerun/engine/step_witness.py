"""The witness of a process: one step evaluated alone, as the plain loop would, held against its row of a round."""

from __future__ import annotations

import random
import warnings
from collections.abc import Hashable
from math import inf
from typing import Any, Final, final

from torch import Tensor, nn

from forerun.engine.event import RoundEvent
from forerun.engine.numerics.autocast import in_plain_arithmetic
from forerun.engine.options import SolveSettings
from forerun.engine.process import Process, is_adapter
from forerun.engine.run import SolveRun
from forerun.engine.windows import Auto
from forerun.engine.witness import (
    Witness,
    WitnessDisagrees,
    WitnessMemory,
    WitnessWarning,
    describe_difference,
)

PROCESS_MEMORY: Final = WitnessMemory()
RUNS_BETWEEN: Final = 8  # of a kind of process that is known to agree, one run in so many is witnessed
SHORT_LENGTH: Final = 50  # below which one evaluation is more than 2 % of a path
MIXED_STEPS: Final = (
    "evaluate gives something else for step {} alone than among {} steps: {}. The steps were taken one a call, from "
    "the beginning, as in the plain loop. Let every step be evaluated by itself, without looking at other rows, "
    "without randomness of its own and without counting calls (network.eval(), noise by the step)."
)


@final
class StepWitness:
    """Evaluates one step of the first round alone, and says whether it gives something else then.

    Args:
        run: whose rounds are witnessed.
        witness: how.

    Attributes:
        difference: a sentence, once something differs; None where nothing does.
    """

    def __init__(self, run: SolveRun, witness: Witness) -> None:
        self.difference: str | None = None
        self.count = 0
        self._run = run
        self._witness = witness
        self._kind = _read_kind(run.problem.process)
        self._is_due = _is_due(self._kind)
        # of a short path, one evaluation is much: a window that declines after its first round goes without
        is_short = run.problem.length < SHORT_LENGTH and isinstance(run.settings.window, Auto)
        self._rounds_to_wait = 1 if is_short else 0

    def watch_round(self, event: RoundEvent) -> bool:
        """Hold a step of a round that evaluated several against its evaluation alone; return whether they differ."""
        evaluations = event.update.evaluations
        evaluated_rows = evaluations.skeleton.list_slots()
        if not self._is_due or event.update.in_order or len(evaluated_rows) < 2:
            return False
        if self._rounds_to_wait:
            self._rounds_to_wait -= 1
            return False
        self._is_due = False
        row = random.Random(f"{self._witness.seed} {event.length}").choice(evaluated_rows[1:])
        difference = self._describe_row(evaluations.start, evaluations.inputs, evaluations.outputs, row)
        if difference is None:
            self.count = 1
            PROCESS_MEMORY.remember(self._kind)
            return False
        PROCESS_MEMORY.forget(self._kind)
        self.difference = MIXED_STEPS.format(evaluations.start + row, len(evaluations), difference)
        return True

    @in_plain_arithmetic
    def _describe_row(self, start: int, inputs: Tensor, outputs: Tensor, row: int) -> str | None:
        steps = self._run.problem.step_range(start + row, start + row + 1)
        alone = self._run.log.evaluate.evaluate_apart(steps, inputs[row : row + 1])[0]
        difference = describe_difference(alone, outputs[row], roundings=self._witness.roundings)
        if difference is None or describe_difference(alone, outputs[row], roundings=inf) is not None:
            return difference
        # a network in half precision may round otherwise alone: then its row does not depend on the others
        among_itself = self._run.log.evaluate.evaluate_apart(
            steps.expand(len(inputs)), inputs[row].expand_as(inputs).clone()
        )
        return describe_difference(among_itself[row], outputs[row], roundings=self._witness.roundings)


def watch_steps(run: SolveRun, settings: SolveSettings) -> StepWitness | None:
    """Return the witness of a run; None where none is wanted, or the process is an adapter's, which has its own."""
    if settings.witness is None or is_adapter(run.problem.process):
        return None
    return StepWitness(run, settings.witness)


def report_difference(difference: str, *, strict: bool) -> None:
    """Warn that the steps of a process are not evaluated each by itself; raise with `strict`.

    Raises:
        WitnessDisagrees: with `strict`.
    """
    if strict:
        raise WitnessDisagrees(difference)
    warnings.warn(difference, WitnessWarning, stacklevel=3)


def _read_kind(process: Process) -> Hashable:
    """Return by what a process is known again as one of the same kind."""
    parts = tuple((name, _describe_part(value)) for name, value in vars(process).items())
    return type(process), parts


def _describe_part(value: Any) -> Any:
    """Return what kind of thing an attribute of a process is: of a function its code, of a module its mode too."""
    if isinstance(value, nn.Module):
        return type(value), value.training
    kind = type(value)
    return getattr(value, "__code__", None) or kind


_RUN_COUNTS: Final = {"agreed": 0}


def _is_due(kind: Hashable) -> bool:
    if kind not in PROCESS_MEMORY:
        return True
    _RUN_COUNTS["agreed"] += 1
    return _RUN_COUNTS["agreed"] % RUNS_BETWEEN == 0
