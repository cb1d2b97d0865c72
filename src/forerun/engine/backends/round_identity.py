"""RoundIdentity: where a rank is in its run, with checksums, so that ranks can see whether they do the same."""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

import torch
from torch import Tensor

INTEGER_DTYPES: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32}  # by their bytes
CHECKSUM_CHUNK: Final = 1 << 18  # elements to sum at a time: their weights, 8 bytes each, stay in the cache
GOLDEN_STEP: Final = 0x1E3779B97F4A7C15  # 2**64 over the golden ratio, less its top bit: spreads its multiples evenly


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


def compute_checksum(rows: Tensor) -> int:
    """Return a checksum of the bits of a tensor: the same wherever and in whatever order it is summed.

    Integers `w_k b_k` are added up: the bits `b` by 32, so that no sign bit falls out of 64, weights `w` that mix.
    """
    flat = rows.detach().reshape(-1)
    bits = flat.view(INTEGER_DTYPES[min(flat.element_size(), 4)])
    places = torch.arange(1, min(len(bits), CHECKSUM_CHUNK) + 1, device=bits.device) * GOLDEN_STEP
    weights = places ^ (places >> 29)
    sums = []
    for index, chunk in enumerate(bits.split(CHECKSUM_CHUNK)):
        chunk_sum = (weights[: len(chunk)] * chunk).sum()
        sums.append(chunk_sum * (2 * index + 1))
    kind = f"{rows.dtype} {list(rows.shape)}"
    return int(torch.stack(sums).sum()) ^ zlib.crc32(kind.encode())
