"""The witness of a policy's network: it is called for steps alone, as the loop of its user calls it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.options import SolveSettings
from forerun.engine.witness import Witness, WitnessDisagrees, describe_difference
from forerun.policy.plan import PolicyDenoiser

TICKS_BETWEEN: Final = 16  # of a network that is known to agree, one tick in so many is witnessed, on one step
MIXED_ACTIONS: Final = (
    "the policy's network, called for step {} alone, gives something else than among {} steps: {}. The steps are taken "
    "one a call, as in the plain loop. Let every row be denoised by itself, by its own timestep (network.eval(), "
    "timesteps of shape (N,))."
)


@dataclass(frozen=True)
class WitnessedCall:
    """One step as the network saw it among others.

    Attributes:
        step: which.
        sample: the chunks, scaled, `(B, H, A)`.
        timesteps: `(B,)`.
        observation: `(B, *obs)`.
        prediction: what came of it, `(B, H, A)`.
        place: of the step among those of the call.
        width: how many steps were called together.
    """

    step: int
    sample: Tensor
    timesteps: Tensor
    observation: Tensor
    prediction: Tensor
    place: int
    width: int


@final
class NetworkWitness:
    """Holds what a network gives for many steps together against what it gives for one.

    Args:
        denoiser: the user's own.
        witness: how many steps, and how near.
        length: steps of a tick.

    Attributes:
        count: steps that agreed in the last tick.
    """

    def __init__(self, denoiser: PolicyDenoiser, witness: Witness, length: int) -> None:
        self.count = 0
        self._denoiser = denoiser
        self._witness = witness
        self._length = length
        self._ticks = 0
        self._agreed = False
        self._steps: set[int] = set()
        self._calls: dict[int, WitnessedCall] = {}

    @classmethod
    def for_settings(cls, denoiser: PolicyDenoiser, settings: SolveSettings, length: int) -> NetworkWitness | None:
        """Return the witness of a network; None where none is wanted."""
        if settings.witness is None:
            return None
        return cls(denoiser, settings.witness, length)

    def begin_tick(self, *, in_time: bool) -> None:
        """Choose the steps to witness: of the first tick the first, some, and the last, and seldom one from then on.

        Args:
            in_time: whether the tick has a deadline, which leaves no time for a step once the network is known.
        """
        self.count = 0
        self._calls.clear()
        self._steps = set()
        if not self._agreed:
            self._steps = set(self._witness.choose_steps(self._length))
        elif not in_time and self._ticks % TICKS_BETWEEN == 0:
            self._steps = {random.Random(f"{self._witness.seed} {self._ticks}").randrange(self._length)}
        self._ticks += 1

    def record(self, steps: Tensor, inputs: Sequence[Tensor], predictions: Tensor) -> None:
        """Keep what the network gave for the steps that are to be witnessed.

        Args:
            steps: `(W,)`.
            inputs: samples, timesteps and observations of the call, each `(W * B, ...)`.
            predictions: `(W * B, H, A)`.
        """
        if not self._steps or len(steps) < 2:
            return
        for place, step in enumerate(steps.tolist()):
            if step in self._steps and (place or step not in self._calls):  # the first of a call is like one alone
                rows = [tensor.unflatten(0, (len(steps), -1))[place].clone() for tensor in (*inputs, predictions)]
                sample, timesteps, observation, prediction = rows
                self._calls[step] = WitnessedCall(
                    step, sample, timesteps, observation, prediction, place=place, width=len(steps)
                )

    @torch.no_grad()
    def compare_calls(self) -> None:
        """Call the network for the steps of the tick that are to be witnessed.

        Raises:
            WitnessDisagrees: it gives something else.
        """
        for call in self._calls.values():
            difference = self._describe_call(call)
            if difference is not None:
                raise WitnessDisagrees(MIXED_ACTIONS.format(call.step + 1, call.width, difference))
            self.count += 1
        if self._calls:
            self._agreed = True
        self._calls.clear()

    def _describe_call(self, call: WitnessedCall) -> str | None:
        roundings = self._witness.roundings
        alone = self._denoiser(call.sample, call.timesteps, call.observation)
        difference = describe_difference(alone, call.prediction, roundings=roundings)
        if difference is None or describe_difference(alone, call.prediction, roundings=inf) is not None:
            return difference
        # a network in half precision may round otherwise alone: then its rows do not depend on the other steps
        inputs = [call.sample, call.timesteps, call.observation]
        repeated = [tensor.repeat(call.width, *[1] * (tensor.dim() - 1)) for tensor in inputs]
        among_itself = self._denoiser(*repeated).unflatten(0, (call.width, -1))[call.place]
        return describe_difference(among_itself, call.prediction, roundings=roundings)
