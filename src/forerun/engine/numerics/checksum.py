"""Checksums of tensors, on the device where they lie: the same on every device."""

from __future__ import annotations

import zlib
from typing import Final

import torch
from torch import Tensor

INTEGER_DTYPES: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32}  # by their bytes
FEW_ELEMENTS: Final = 1 << 12  # that are copied to the processor: one call for ten
CHECKSUM_CHUNK: Final = 1 << 18  # elements to sum at a time: their weights, 8 bytes each, stay in the cache
GOLDEN_STEP: Final = 0x1E3779B97F4A7C15  # 2**64 over the golden ratio, less its top bit: spreads its multiples evenly


def compute_checksum(rows: Tensor) -> int:
    """Return a checksum of the bits of a tensor: the same wherever and in whatever order it is summed.

    Of a few elements it is that of their bytes. Of more, integers `w_k b_k` are added up: the bits `b` by 32, so that
    no sign bit falls out of 64, weights `w` that mix.
    """
    flat = rows.detach().reshape(-1)
    if flat.numel() <= FEW_ELEMENTS:
        return zlib.crc32(bytes(flat.contiguous().view(torch.uint8).cpu().numpy()), _digest_kind(rows))
    bits = flat.view(INTEGER_DTYPES[min(flat.element_size(), 4)])
    places = torch.arange(1, min(len(bits), CHECKSUM_CHUNK) + 1, device=bits.device) * GOLDEN_STEP
    weights = places ^ (places >> 29)
    sums = []
    for index, chunk in enumerate(bits.split(CHECKSUM_CHUNK)):
        chunk_sum = (weights[: len(chunk)] * chunk).sum()
        sums.append(chunk_sum * (2 * index + 1))
    return int(torch.stack(sums).sum()) ^ _digest_kind(rows)


def _digest_kind(rows: Tensor) -> int:
    return zlib.crc32(f"{rows.dtype} {list(rows.shape)}".encode())
