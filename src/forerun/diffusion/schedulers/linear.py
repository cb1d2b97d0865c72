"""A linear scheduler as matrices, probed in float64.

Most schedulers are linear in the sample, their history and the model output, the same for every element. So each
step is a small matrix, read off by stepping the unmodified scheduler with the basis vectors: a sample whose
channels are the unit vectors comes back as the matrix's rows. What is not linear (clipping, thresholding) shows on
a mixture of them, and is stepped instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from forerun.diffusion.schedulers.prediction import PredictionSplit
from forerun.diffusion.schedulers.replay import SchedulerReplay

PROBED_SAMPLES = (2, 3, 2)  # samples, channels and rows of what a step is probed with
NONLINEARITY_BOUND = 1e-5  # of the size of a result; schedulers that compute in float32 are linear to 1e-7


@dataclass(frozen=True)
class StepMatrices:
    """The steps `z_{i+1} = A_i z_i + B_i D_i` of samples and history `z = (x, h_1 .. h_m)`; float64 on the CPU.

    Only what some later sample depends on is carried, in as few slots as that takes.

    Attributes:
        state: `A`, `(length, 1 + m, 1 + m)`.
        output: `B`, `(length, 1 + m)`, of the denoised sample.
        slots: for every step and the end, which slots of the replay stand in `z`, the sample (0) first.
    """

    state: Tensor
    output: Tensor
    slots: Sequence[Sequence[int]]

    @property
    def width(self) -> int:
        """Number of tensors in a state, `1 + m`."""
        return self.state.shape[-1]

    def to_lists(self) -> list[list[list[float]]]:
        """Return for every step and slot its weights of the slots before and, last, of the denoised sample."""
        output = self.output.unsqueeze(-1)
        rows = torch.cat([self.state, output], -1)
        lists: list[list[list[float]]] = rows.tolist()
        return lists

    def select_slots(self, state: Sequence[Tensor], step: int) -> list[Tensor]:
        """Return what the matrices carry before a step, of all that the scheduler keeps."""
        selected = [state[slot] for slot in self.slots[step]]
        missing = self.width - len(selected)
        return selected + [torch.zeros_like(selected[0])] * missing


def probe_matrices(
    replay: SchedulerReplay,
    splits: Sequence[PredictionSplit],
) -> StepMatrices | None:
    """Return the matrices of a replay; None where a step is not linear."""
    length, size = len(replay), 1 + replay.slots
    state = torch.zeros(length, size, size, dtype=torch.float64)
    output = torch.zeros(length, size, dtype=torch.float64)
    for index, split in enumerate(splits):
        rows = _probe_step(replay, index)
        if rows is None:
            return None
        # columns: the model output, the sample, the history; E = p' x + d D
        sample_weight, denoised_weight = split.inverse
        height, width = rows.shape
        predicted = rows[:, 0]
        inputs = rows[:, 1:]
        state[index, :height, : width - 1] = inputs
        state[index, :height, 0] += sample_weight * predicted
        output[index, :height] = denoised_weight * predicted
    return _drop_unused_slots(state, output)


def _drop_unused_slots(state: Tensor, output: Tensor) -> StepMatrices:
    """Return the matrices without the history that no later sample depends on."""
    slots = _used_slots(state)
    size = max(len(used) for used in slots)
    length = len(state)
    compact_state = state.new_zeros(length, size, size)
    compact_output = state.new_zeros(length, size)
    for index, (before, after) in enumerate(pairwise(slots)):
        height, width = len(after), len(before)
        rows = state[index][after]
        compact_state[index, :height, :width] = rows[:, before]
        compact_output[index, :height] = output[index][after]
    return StepMatrices(compact_state, compact_output, slots)


def _used_slots(state: Tensor) -> list[list[int]]:
    """Return for every step and the end the slots that some later sample depends on, the sample first."""
    slots = [[0]]
    for matrix in reversed(state):
        rows = matrix[slots[0]]
        weights = rows.abs().sum(0)
        used = [0]
        for slot in range(1, len(weights)):
            if weights[slot] > 0:
                used.append(slot)
        slots.insert(0, used)
    return slots


def _probe_step(replay: SchedulerReplay, index: int) -> Tensor | None:
    """Return sample and history after a step as rows over (output, sample, history); None where it is not linear."""
    count = 2 + replay.templates[index].count
    generator = torch.Generator().manual_seed(index)
    # unit vectors among random numbers, in other samples, channels and places too: a step that mixes them shows here
    vectors = 20 * torch.randn(count, *PROBED_SAMPLES, count + 1, generator=generator, dtype=torch.float64)
    vectors[:, 0, 0, 0, :count] = torch.eye(count, dtype=torch.float64)
    result = _step_vectors(replay, index, vectors)
    if replay.draws_noise:  # what the step adds by itself is noise
        zeros = torch.zeros_like(vectors)
        result = result - _step_vectors(replay, index, zeros)
    rows = result[:, 0, 0, 0, :count]
    observed = result.flatten(1)
    mixtures = vectors.flatten(1)
    expected = rows @ mixtures
    scale = rows.abs() @ mixtures.abs()
    distance = (expected - observed).abs()
    relative = distance / scale.clamp_min(1e-12)
    error = relative.max()
    is_linear = bool(error <= NONLINEARITY_BOUND)  # nan is not
    return rows if is_linear else None


def _step_vectors(replay: SchedulerReplay, index: int, vectors: Tensor) -> Tensor:
    """Return sample and history `(1 + m', *shape)` after a step from output, sample and history `(2 + m, *shape)`."""
    output, sample, *history = vectors.clone()  # as some schedulers work on their history in place
    generator = torch.Generator().manual_seed(0)
    next_sample, collected = replay.raw_step(
        index,
        output,
        sample,
        history=history,
        generator=generator,
    )
    return torch.stack([tensor.double() for tensor in (next_sample, *collected)])
