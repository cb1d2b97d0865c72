"""Agreement: whether the ranks of a round failed, or do not do the same, by what their headers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import isfinite
from typing import Final, NamedTuple

import torch
from torch import Tensor

from forerun.engine.backends.message import MessageHeader

SAME_PROJECTION: Final = 1e-2  # of its size: kernels of unlike devices differ by less, other weights by more


def describe_failures(headers: Sequence[MessageHeader]) -> str:
    """Return which ranks failed, and why; empty where none did."""
    failed_ranks = [rank for rank, header in enumerate(headers) if header.error]
    if not failed_ranks:
        return ""
    identity = headers[failed_ranks[0]].identity
    lines = [f"evaluate failed in {identity}, on {_name_ranks(failed_ranks)}:"]
    lines += [f"  rank {rank}: {headers[rank].error}" for rank in failed_ranks]
    if any("emory" in headers[rank].error for rank in failed_ranks):
        lines.append("evaluate fewer steps in one call: Distributed(max_batch=...)")
    return "\n".join(lines)


def describe_disagreement(headers: Sequence[MessageHeader]) -> str:
    """Return which ranks do something else than the majority, and what to do; empty where all agree."""
    identities = [header.identity for header in headers]
    minority = _find_minority(identities)
    if minority.ranks:
        identity = identities[minority.ranks[0]]
        common = identities[minority.common_rank]
        if identity.has_same_steps(common):
            return (
                f"the inputs of {minority} differ from those of rank {minority.common_rank} in {common}. All ranks "
                "must start from the same state and load the same weights and data: call torch.manual_seed(0) with "
                "one seed, not one a rank, or torch.distributed.broadcast(state, src=0) before solve; ranks on unlike "
                "devices can differ by rounding"
            )
        return (
            f"{minority} came to {identity}, but rank {minority.common_rank} came to {common}. All ranks must make "
            "the same calls with the same arguments: remove what depends on the rank (method, window, tolerance, "
            "resume, a break)"
        )
    kinds = [f"{header.dtype} {list(header.shape or ())} a step" for header in headers]
    minority = _find_minority(kinds)
    if minority.ranks:
        return (
            f"{minority} returned outputs of {kinds[minority.ranks[0]]}, but rank {minority.common_rank} of "
            f"{kinds[minority.common_rank]}. Use the same weights, dtype and autocast setting on all ranks"
        )
    return _describe_samples(headers)


def project_output(row: Tensor) -> tuple[float, float]:
    """Return a projection of an output row onto signs that look random, and its size; zeros where it is not finite."""
    values = row.detach().reshape(-1).to("cpu", torch.float64)
    signs = torch.sin(torch.arange(1, len(values) + 1, dtype=torch.float64) ** 2)
    projection, size = float(values @ signs), float(torch.linalg.vector_norm(values))
    if not isfinite(size):
        return 0.0, 0.0
    return projection, size


def _describe_samples(headers: Sequence[MessageHeader]) -> str:
    """Return which ranks made something else of the same step, by more than kernels differ; empty where none did."""
    projection, size = headers[0].sample
    other_ranks = []
    for rank, header in enumerate(headers):
        allowed = SAME_PROJECTION * max(size, header.sample[1])
        if abs(header.sample[0] - projection) > allowed or abs(header.sample[1] - size) > allowed:
            other_ranks.append(rank)
    if not other_ranks:
        return ""
    return (
        f"{_name_ranks(other_ranks)} made something else than rank 0 of the same input, in {headers[0].identity}. All "
        "ranks must have the same weights and data, and no noise of their own: load one file on every rank, or call "
        "torch.distributed.broadcast(parameter.data, src=0) for every parameter before solve, and model.eval()"
    )


class Minority(NamedTuple):
    """The ranks that differ from the majority, and the lowest rank of the majority."""

    ranks: list[int]
    common_rank: int

    def __str__(self) -> str:
        return _name_ranks(self.ranks)


def _find_minority(values: Sequence[Hashable]) -> Minority:
    """Return the ranks whose value is not the most common; of two equally common ones, that of the lower rank is."""
    common, _ = Counter(values).most_common(1)[0]
    ranks = [rank for rank, value in enumerate(values) if value != common]
    return Minority(ranks, values.index(common))


def _name_ranks(ranks: Sequence[int]) -> str:
    noun = "rank" if len(ranks) == 1 else "ranks"
    return f"{noun} {', '.join(map(str, ranks))}"
