"""RoundIdentity: where a rank is in its run, with checksums, so that ranks can see whether they do the same."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from torch import Tensor

from forerun.engine.numerics.checksum import compute_checksum


class RoundIdentity(NamedTuple):
    """Where a rank is in its run; equal on all ranks that run the same script on the same inputs.

    Attributes:
        round: number of the round.
        width: steps of the round.
        first: the first of them.
        last: the last.
        steps: checksum of the steps.
        inputs: checksum of the inputs.
    """

    round: int
    width: int
    first: int
    last: int
    steps: int
    inputs: int

    @classmethod
    def from_round(cls, number: int, steps: Tensor, inputs: Tensor) -> RoundIdentity:
        """Return the identity of round `number`, of steps `(W,)` and inputs `(W, *batch, D)`."""
        numbers = steps.tolist()
        return cls(
            round=number,
            width=len(numbers),
            first=numbers[0],
            last=numbers[-1],
            steps=zlib.crc32(repr(numbers).encode()),
            inputs=compute_checksum(inputs),
        )

    def has_same_steps(self, other: RoundIdentity) -> bool:
        """Return whether another rank is in the same round with the same steps, whatever its inputs."""
        return self._replace(inputs=other.inputs) == other

    def __str__(self) -> str:
        if self.width == 1:
            return f"round {self.round} with step {self.first}"
        return f"round {self.round} with {self.width} steps from {self.first} to {self.last}"
