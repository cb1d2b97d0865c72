"""The message of a round between ranks: a header of fixed size, then output rows as bytes. Nothing is pickled."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, NamedTuple

import torch
from torch import Tensor

HEADER: Final = 640  # bytes, in every version: so that another version can still be read as one
ALIGN: Final = 16  # rows begin at multiples of it, as wide as the widest element
AXES: Final = 16  # of one output row, at most
TEXT: Final = 376  # bytes of an error that fit

MAGIC: Final = b"forerun1"
FIELDS: Final = struct.Struct(f"<8s6q3d{3 + AXES}qq{TEXT}s")
assert FIELDS.size <= HEADER

DTYPES: Final = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.complex128),
)
WHOLE: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32}
CHUNK: Final = 1 << 18  # elements to sum at a time: their weights, 8 bytes each, stay in the cache
ODD: Final = 0x1E3779B97F4A7C15  # 2**64 over the golden ratio, less its top bit: places times it are spread evenly


class Place(NamedTuple):
    """Where a rank is in its run; equal on all ranks that run the same script on the same inputs."""

    round: int
    width: int  # steps of the round
    first: int
    last: int
    steps: int  # checksums
    inputs: int

    @classmethod
    def of(cls, number: int, steps: Tensor, inputs: Tensor) -> Place:
        """The place of round `number`, of steps `(W,)` and inputs `(W, *batch, D)`."""
        listed = steps.tolist()
        return cls(number, len(listed), listed[0], listed[-1], zlib.crc32(repr(listed).encode()), checksum(inputs))

    def __str__(self) -> str:
        span = f"step {self.first}" if self.width == 1 else f"{self.width} steps from {self.first} to {self.last}"
        return f"round {self.round} with {span}"


def checksum(rows: Tensor) -> int:
    """A checksum of the bits of a tensor: the same wherever and in whatever order it is summed.

    Integers `w_k b_k` are added up: the bits `b` by 32, so that no sign bit falls out of 64, weights `w` that mix.
    """
    flat = rows.detach().reshape(-1)
    bits = flat.view(WHOLE[min(flat.element_size(), 4)])
    places = torch.arange(1, min(len(bits), CHUNK) + 1, device=bits.device) * ODD
    weights = places ^ (places >> 29)
    sums = [(weights[: len(part)] * part).sum() * (2 * index + 1) for index, part in enumerate(bits.split(CHUNK))]
    return int(torch.stack(sums).sum()) ^ zlib.crc32(f"{rows.dtype} {list(rows.shape)}".encode())


@dataclass(frozen=True)
class Header:
    """What a rank says about its share of a round.

    Attributes:
        evaluate: seconds of this round's evaluation.
        communicate: seconds of the round before; this round's are not over yet.
        overhead: seconds since the round before.
        rows: how many rows of outputs the rank has.
        shape: of one row, `(*batch, E)`; None where the evaluation failed.
        dtype: of the rows; None where the evaluation failed.
        error: what went wrong; empty where nothing did.
    """

    place: Place
    evaluate: float
    communicate: float
    overhead: float
    rows: int = 0
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None
    error: str = ""

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return 0 if self.shape is None or self.dtype is None else self.rows * prod(self.shape) * self.dtype.itemsize

    def pack(self) -> bytes:
        """The header as `HEADER` bytes."""
        shape = () if self.shape is None else self.shape
        text = self.error.encode(errors="replace")[:TEXT]
        packed = FIELDS.pack(
            MAGIC,
            *self.place,
            self.evaluate,
            self.communicate,
            self.overhead,
            self.rows,
            -1 if self.dtype is None else DTYPES.index(self.dtype),
            len(shape),
            *shape,
            *[0] * (AXES - len(shape)),
            len(text),
            text,
        )
        return packed.ljust(HEADER, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """The header that `pack` made these bytes of.

        Raises:
            ValueError: another version of forerun made them.
        """
        magic, *fields = FIELDS.unpack(data[: FIELDS.size])
        if magic != MAGIC:
            raise ValueError(f"a message began with {magic!r} instead of {MAGIC!r}")
        place, (evaluate, communicate, overhead) = Place(*fields[:6]), fields[6:9]
        (rows, code, axes), shape, (length, text) = fields[9:12], fields[12 : 12 + AXES], fields[12 + AXES :]
        error = text[:length].decode(errors="ignore")
        if code < 0:
            return cls(place, evaluate, communicate, overhead, error=error)
        return cls(place, evaluate, communicate, overhead, rows, tuple(shape[:axes]), DTYPES[code], error)


def body(rows: Tensor) -> Tensor:
    """Rows as bytes `(n,)`, a view where they are contiguous."""
    return rows.detach().reshape(-1).view(torch.uint8)


def restore(header: Header, data: Tensor) -> Tensor:
    """The rows that a rank sent, a view of its bytes `data`, which may be longer."""
    assert header.shape is not None
    assert header.dtype is not None
    return data[: header.size].view(header.dtype).reshape(header.rows, *header.shape)


def aligned(size: int) -> int:
    """The next multiple of `ALIGN`."""
    return -(-size // ALIGN) * ALIGN


def failures(headers: Sequence[Header]) -> str:
    """Which ranks failed, and why; empty where none did."""
    found = [(rank, header.error) for rank, header in enumerate(headers) if header.error]
    if not found:
        return ""
    where = headers[found[0][0]].place
    said = "\n".join(f"  rank {rank}: {error}" for rank, error in found)
    advice = "evaluate fewer steps in one call: Distributed(max_batch=...)" if "emory" in said else ""
    return f"evaluate failed in {where}, on {_ranks([rank for rank, _ in found])}:\n{said}" + (advice and f"\n{advice}")


def disagreement(headers: Sequence[Header]) -> str:
    """Which ranks are elsewhere than most, and what to do; empty where all agree."""
    places = [header.place for header in headers]
    common, _ = Counter(places).most_common(1)[0]  # of two equally common ones, that of the lower rank
    apart = [rank for rank, place in enumerate(places) if place != common]
    if apart:
        here, there, usual = _ranks(apart), places[apart[0]], f"rank {places.index(common)}"
        if there[:5] != common[:5]:
            return (
                f"{here} came to {there}, but {usual} came to {common}. All ranks must make the same calls with "
                "the same arguments: remove what depends on the rank (method, window, tolerance, resume, a break)"
            )
        return (
            f"the inputs of {here} differ from those of {usual} in {common}. All ranks must start from the same "
            "state and load the same weights and data: call torch.manual_seed(0) with one seed, not one a rank, or "
            "torch.distributed.broadcast(state, src=0) before solve; ranks on unlike devices can differ by rounding"
        )
    kinds = [f"{header.dtype} {list(header.shape or ())} a step" for header in headers]
    common_kind, _ = Counter(kinds).most_common(1)[0]
    apart = [rank for rank, kind in enumerate(kinds) if kind != common_kind]
    if not apart:
        return ""
    return (
        f"{_ranks(apart)} returned outputs of {kinds[apart[0]]}, but rank {kinds.index(common_kind)} of {common_kind}. "
        "Use the same weights, dtype and autocast setting on all ranks"
    )


def _ranks(ranks: Sequence[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))
