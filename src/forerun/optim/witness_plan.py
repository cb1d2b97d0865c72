"""WitnessPlan: the steps of a run on which the user's own loss is called, and how many of them agreed."""

from __future__ import annotations

from typing import final

from forerun.engine.checkpoint import Checkpoint
from forerun.optim.live_loop import LiveLoop
from forerun.optim.round_outputs import RoundOutputs


@final
class WitnessPlan:
    """The steps to witness.

    Args:
        live: the loop; one whose own loss is called anyway needs no witness.
        steps: to witness.
        count: steps that were witnessed before the run.
    """

    def __init__(self, live: LiveLoop, steps: set[int], count: int) -> None:
        self._live = live
        self._steps = steps
        self._watches_stale = bool(steps)
        self.count = count

    @classmethod
    def for_run(cls, live: LiveLoop, begin: Checkpoint) -> WitnessPlan:
        """Return the plan of a run from a checkpoint on: what the rehearsal has witnessed is not witnessed again."""
        witness = live.settings.witness
        if witness is None or live.is_plain:
            return cls(live, set(), 0)
        count = begin.length - begin.step
        steps = {begin.step + index for index in witness.choose_steps(count, known_to_agree=live.agreed)}
        witnessed = 0
        if not live.agreed:
            witnessed = live.witnessed
            steps -= {begin.step}
        live.agreed = True
        return cls(live, steps, witnessed)

    def hold_next(
        self,
        outputs: RoundOutputs,
        step: int,
        *,
        is_stale: bool,
    ) -> None:
        """Witness a step where it is planned, or the first that was evaluated before the user looked at the last one.

        Raises:
            ReplicaDiffers: the user's own loss gives something else.
        """
        if is_stale and self._watches_stale:
            self._watches_stale = False
            self._steps.add(step)
        self.hold_against(outputs, step, step + 1)

    def hold_against(self, outputs: RoundOutputs, start: int, stop: int) -> None:
        """Witness those of the steps `start .. stop-1` that are planned.

        Raises:
            ReplicaDiffers: the user's own loss gives something else.
        """
        if self._live.is_plain:
            return
        for step in sorted(self._steps & set(range(start, stop))):
            outputs.witness_step(step)
            self._steps.discard(step)
            self.count += 1
