"""The choice between a module's own fused kernel and Newton on its layers, for every shape of inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import final

import torch
from torch import Tensor, nn

from forerun.sequence.recurrent.axes import SequenceAxes
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.job import RecurrenceJob
from forerun.sequence.recurrent.layer_scan import count_state_tensors
from forerun.sequence.recurrent.loop_choice import (
    MAX_NEWTON_WIDTH,
    MIN_NEWTON_LENGTH,
    NEWTON_ROUNDS,
    ROUND_MARGIN,
    TRIAL_LENGTHS,
    extend_line,
    measure_newton_round,
    measure_quickest,
)


@final
class KernelChoice:
    """Whether a recurrent module of `torch.nn` is quicker by its own kernel: from a trial, and from what runs took.

    Args:
        max_bytes: what Jacobians may take.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kernel_seconds: dict[Hashable, float] = {}
        self._declined: dict[Hashable, bool] = {}

    def declines(
        self,
        module: nn.RNNBase,
        kernel: Callable[[Tensor], object],
        xs: Tensor,
        make_cell: Callable[[], Cell],
    ) -> bool:
        """Return whether the module's own kernel should be quicker than Newton on all layers.

        Args:
            module: the module.
            kernel: runs its own kernel, without its hooks.
            xs: its inputs.
            make_cell: makes the cell of the first layer.
        """
        key = _shape_key(xs)
        if key not in self._declined:
            self._declined[key] = self._try_both(module, kernel, xs, make_cell)
        return self._declined[key]

    def remember_run(self, xs: Tensor, seconds: float) -> None:
        """Decline from now on where Newton took longer than the kernel.

        As cells learn to remember, Newton needs more rounds.
        """
        key = _shape_key(xs)
        if seconds > self._kernel_seconds.get(key, float("inf")):
            self._declined[key] = True

    def forget_runs(self) -> None:
        """Forget all decisions."""
        self._declined.clear()

    @torch.no_grad()
    def _try_both(
        self,
        module: nn.RNNBase,
        kernel: Callable[[Tensor], object],
        xs: Tensor,
        make_cell: Callable[[], Cell],
    ) -> bool:
        steps = SequenceAxes.from_inputs(module, xs).put_time_first(xs)
        length = len(steps)
        width = module.hidden_size * count_state_tensors(module)
        if length < MIN_NEWTON_LENGTH or width > MAX_NEWTON_WIDTH:
            return True
        cell = make_cell()
        start = steps.new_zeros(steps.shape[1], width)
        prepared = cell.prepare_inputs(steps)
        job = RecurrenceJob(cell, start, prepared, length, self._max_bytes)
        kernel_seconds = measure_kernel(module, kernel, steps)
        self._kernel_seconds[_shape_key(xs)] = kernel_seconds
        layers = len(module._all_weights)
        newton_seconds = NEWTON_ROUNDS * layers * measure_newton_round(job)
        return kernel_seconds < ROUND_MARGIN * newton_seconds


def measure_kernel(module: nn.RNNBase, kernel: Callable[[Tensor], object], steps: Tensor) -> float:
    """Return the seconds of the module's own forward pass over steps `(T, B, I)`, on the line through two trials."""
    xs = steps
    time_axis = 0
    if module.batch_first:
        xs = steps.transpose(0, 1)
        time_axis = 1

    def measure_steps(count: int) -> float:
        inputs = xs.narrow(time_axis, 0, count)
        return measure_quickest(lambda: kernel(inputs))

    short, long = (min(length, len(steps)) for length in TRIAL_LENGTHS)
    with torch.random.fork_rng(enabled=bool(module.dropout)):
        short_seconds = measure_steps(short)
        long_seconds = measure_steps(long)
    return extend_line((short, short_seconds), (long, long_seconds), len(steps))


def _shape_key(xs: Tensor) -> Hashable:
    return xs.shape, xs.dtype, xs.device
