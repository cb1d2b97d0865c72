"""Integers of a few bits, packed into bytes without a gap."""

from __future__ import annotations

import torch
from torch import Tensor

BYTE_BITS = 8


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    """Pack integers `0 <= code < 2**bits` into bytes, the lowest bit first.

    Returns:
        A uint8 tensor of `ceil(numel * bits / 8)` bytes.
    """
    places = torch.arange(bits, device=codes.device)
    stream = (codes.reshape(-1, 1).long() >> places) & 1
    stream = stream.flatten()
    stream = torch.cat([stream, stream.new_zeros(-len(stream) % BYTE_BITS)])
    powers = 2 ** torch.arange(BYTE_BITS, device=codes.device)
    return (stream.reshape(-1, BYTE_BITS) * powers).sum(-1).to(torch.uint8)


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the first integers of what was packed, int64 `(count,)`."""
    stream = (packed[:, None].long() >> torch.arange(BYTE_BITS, device=packed.device)) & 1
    digits = stream.flatten()[: count * bits].reshape(count, bits)
    return (digits * 2 ** torch.arange(bits, device=packed.device)).sum(-1)
