"""The message of a round between ranks: a header of fixed size, then output rows as bytes. Nothing is pickled."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import Final

import torch
from torch import Tensor

from forerun.engine.backends.round_identity import RoundIdentity

HEADER_BYTES: Final = 640  # in every version: so that another version can still be read as one
ROW_ALIGNMENT: Final = 16  # rows begin at multiples of it, in bytes, as wide as the widest element
MAX_ROW_AXES: Final = 16  # of one output row
MAX_ERROR_BYTES: Final = 360

HEADER_MAGIC: Final = b"forerun2"
HEADER_STRUCT: Final = struct.Struct(f"<8s6q5d{3 + MAX_ROW_AXES}qq{MAX_ERROR_BYTES}s")
assert HEADER_STRUCT.size <= HEADER_BYTES

MESSAGE_DTYPES: Final = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.complex128),
)
NO_DTYPE: Final = -1


@dataclass(frozen=True)
class MessageHeader:
    """What a rank says about its share of a round.

    Attributes:
        identity: where the rank is in its run.
        evaluate: seconds of this round's evaluation.
        communicate: seconds of the round before; this round's are not over yet.
        overhead: seconds since the round before.
        rows: how many rows of outputs the rank has.
        shape: of one row, `(*batch, E)`; None where the evaluation failed.
        dtype: of the rows; None where the evaluation failed.
        error: what went wrong; empty where nothing did.
        sample: a projection of the output of the round's one step, which every rank has evaluated, and its size; zeros
            in a round of several steps.
    """

    identity: RoundIdentity
    evaluate: float
    communicate: float
    overhead: float
    rows: int = 0
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None
    error: str = ""
    sample: tuple[float, float] = (0.0, 0.0)

    @property
    def row_bytes(self) -> int:
        """Bytes of all rows."""
        if self.shape is None or self.dtype is None:
            return 0
        return self.rows * prod(self.shape) * self.dtype.itemsize

    def pack(self) -> bytes:
        """Return the header as `HEADER_BYTES` bytes."""
        shape = self.shape or ()
        dtype_code = NO_DTYPE
        if self.dtype is not None:
            dtype_code = MESSAGE_DTYPES.index(self.dtype)
        error = self.error.encode(errors="replace")[:MAX_ERROR_BYTES]
        packed = HEADER_STRUCT.pack(
            HEADER_MAGIC,
            *self.identity,
            self.evaluate,
            self.communicate,
            self.overhead,
            *self.sample,
            self.rows,
            dtype_code,
            len(shape),
            *shape,
            *[0] * (MAX_ROW_AXES - len(shape)),
            len(error),
            error,
        )
        return packed.ljust(HEADER_BYTES, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> MessageHeader:
        """Return the header that `pack` made these bytes of.

        Raises:
            ValueError: another version of forerun made them.
        """
        magic, *fields = HEADER_STRUCT.unpack(data[: HEADER_STRUCT.size])
        if magic != HEADER_MAGIC:
            raise ValueError(f"a message began with {magic!r} instead of {HEADER_MAGIC!r}")
        identity = RoundIdentity(*fields[:6])
        evaluate, communicate, overhead = fields[6:9]
        sample = (fields[9], fields[10])
        rows, dtype_code, axes = fields[11:14]
        shape = fields[14 : 14 + axes]
        error_size, error_bytes = fields[14 + MAX_ROW_AXES :]
        error = error_bytes[:error_size].decode(errors="ignore")
        if dtype_code == NO_DTYPE:
            return cls(identity, evaluate, communicate, overhead, error=error)
        return cls(
            identity,
            evaluate,
            communicate,
            overhead,
            rows=rows,
            shape=tuple(shape),
            dtype=MESSAGE_DTYPES[dtype_code],
            error=error,
            sample=sample,
        )


def rows_to_bytes(rows: Tensor) -> Tensor:
    """Return rows as bytes `(n,)`, a view where they are contiguous."""
    return rows.detach().reshape(-1).view(torch.uint8)


def rows_from_bytes(header: MessageHeader, data: Tensor) -> Tensor:
    """Return the rows that a rank sent, a view of its bytes `data`, which may be longer."""
    assert header.shape is not None
    assert header.dtype is not None
    return data[: header.row_bytes].view(header.dtype).reshape(header.rows, *header.shape)


def align_size(size: int) -> int:
    """Return the next multiple of `ROW_ALIGNMENT`."""
    return -(-size // ROW_ALIGNMENT) * ROW_ALIGNMENT


def refuse_unsendable_rows(rows: Tensor, count: int) -> None:
    """Refuse outputs that are not one row for each of `count` steps, or that do not fit into a message."""
    if rows.dim() == 0 or len(rows) != count:
        raise ValueError(f"{count} steps were evaluated, but outputs came as {list(rows.shape)}; return one row a step")
    if rows.dim() - 1 > MAX_ROW_AXES or rows.dtype not in MESSAGE_DTYPES:
        raise ValueError(
            f"outputs came as {rows.dtype} with {rows.dim() - 1} axes a step, which do not fit into a message; "
            f"return at most {MAX_ROW_AXES} axes of a plain dtype: rows.flatten(1).float()"
        )
