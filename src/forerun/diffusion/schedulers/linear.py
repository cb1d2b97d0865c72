"""A linear scheduler as matrices, probed in float64.

Most schedulers are linear in the sample, their history and the model output, the same for every element. So each
step is a small matrix, read off by stepping the unmodified scheduler with the basis vectors: a sample whose
channels are the unit vectors comes back as the matrix's rows. What is not linear (clipping, thresholding) shows on
a vector that is no basis vector, and is stepped instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from forerun.diffusion.schedulers.history import SchedulerReplay, SchedulerTemplate, take
from forerun.diffusion.schedulers.prediction import Split

WRONG = 1e-5  # of the size of a result; schedulers that compute in float32 are linear to 1e-7


@dataclass(frozen=True)
class StepMatrices:
    """The steps `z_{i+1} = A_i z_i + B_i D_i` of samples and history `z = (x, h_1 .. h_m)`; float64 on the CPU.

    Only what some later sample depends on is carried, in as few slots as that takes.

    Attributes:
        state: `A`, `(length, 1 + m, 1 + m)`.
        output: `B`, `(length, 1 + m)`, of the denoised sample.
        slots: for every step and the end, which slots of the script stand in `z`, the sample (0) first.
    """

    state: Tensor
    output: Tensor
    slots: Sequence[Sequence[int]]

    def rows(self) -> list[list[list[float]]]:
        """For every step and slot, its weights of the slots before and, last, of the denoised sample."""
        found: list[list[list[float]]] = torch.cat([self.state, self.output.unsqueeze(-1)], -1).tolist()
        return found

    @property
    def width(self) -> int:
        """`1 + m`."""
        return self.state.shape[-1]


def probe(script: SchedulerReplay, splits: Sequence[Split]) -> StepMatrices | None:
    """The matrices of a script; None where a step is not linear."""
    size = 1 + script.slots
    state, output = torch.zeros(len(script), size, size, dtype=torch.float64), torch.zeros(len(script), size)
    output = output.double()
    for index, split in enumerate(splits):
        rows = _rows(script, index)
        if rows is None:
            return None
        # columns: the model output, the sample, the history; E = p' x + d D
        along, denoised = split.back
        state[index, : len(rows), : rows.shape[1] - 1] = rows[:, 1:]
        state[index, : len(rows), 0] += along * rows[:, 0]
        output[index, : len(rows)] = denoised * rows[:, 0]
    return _compact(state, output)


def _compact(state: Tensor, output: Tensor) -> StepMatrices:
    """The same without the history that no later sample depends on."""
    live = [[0]]
    for matrix in reversed(state):
        needed = matrix[live[0]].abs().sum(0) > 0
        live.insert(0, [0, *(slot for slot in range(1, len(matrix)) if needed[slot])])
    size = max(map(len, live))
    lean, gains = state.new_zeros(len(state), size, size), state.new_zeros(len(state), size)
    for index, (before, after) in enumerate(pairwise(live)):
        lean[index, : len(after), : len(before)] = state[index][after][:, before]
        gains[index, : len(after)] = output[index][after]
    return StepMatrices(lean, gains, live)


def _rows(script: SchedulerReplay, index: int) -> Tensor | None:
    """What becomes of the sample and the history, each as a row over (output, sample, history); None if not linear."""
    skeleton = script.skeletons[index]
    count = 2 + skeleton.count
    generator = torch.Generator().manual_seed(index)
    mixture = 20 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    basis = torch.cat([torch.eye(count, dtype=torch.float64), mixture], 1)
    found = _stepped(script, skeleton, index, basis)
    if script.draws_noise:  # what it adds by itself is noise
        found = found - _stepped(script, skeleton, index, torch.zeros_like(basis))
    rows, seen = found[:, :count], found[:, count:]
    scale = (rows.abs() @ mixture.abs()).clamp_min(1e-12)
    error = ((rows @ mixture - seen).abs() / scale).max()
    return rows if bool(error <= WRONG) else None  # nan is not


def _stepped(script: SchedulerReplay, skeleton: SchedulerTemplate, index: int, vectors: Tensor) -> Tensor:
    """The rows `(1 + m', K)` after a step from (output, sample, history), the rows of `vectors` `(2 + m, K)`."""
    output, sample, *history = vectors.reshape(len(vectors), 1, -1, 1, 1)
    scheduler: Any = skeleton.fill(history)
    options = script.arguments(index, torch.Generator().manual_seed(0))
    following = take(scheduler, output, script.timesteps[index], sample, options=options)
    kept = script.collect(scheduler, index + 1)
    return torch.stack([each.reshape(-1).double() for each in (following, *kept)])
