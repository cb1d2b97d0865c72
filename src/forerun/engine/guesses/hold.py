"""Hold: sweep on with the last output held."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from forerun.engine.guesses.base import (
    FilledSlots,
    Guess,
    KnownPrefix,
    fill_first,
    sweep_on,
)
from forerun.engine.methods import Evaluate
from forerun.engine.numerics.tree import Tree


@dataclass(frozen=True)
class Hold(Guess):
    """Sweep on with the last output held: exact where the output no longer changes along the path.

    Args:
        output: of the step before the first, where it is known; else the first window holds one step.
    """

    output: Tree = None

    def enter(self, prefix: KnownPrefix, stop: int, evaluate: Evaluate) -> FilledSlots:
        row = self._last_output(prefix)
        if row is None:
            return fill_first(prefix)
        count = stop - prefix.start - 1
        return sweep_on(prefix, row.expand(count, *row.shape[1:]))

    def _last_output(self, prefix: KnownPrefix) -> Tensor | None:
        """Return the output row `(1, *batch, E)` of the step before the first to fill; None where it is not known."""
        if prefix.outputs is not None:
            return prefix.outputs[-1:]
        if self.output is not None:
            return prefix.problem.pack_output(self.output)
        return None
