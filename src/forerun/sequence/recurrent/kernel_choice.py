"""The choice between a module's own fused kernel and scans of its layers, for every shape of inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.engine.numerics.native.loader import CALLS_WORTH_LOADING
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
from forerun.sequence.recurrent.native_loop import loop_natively

LOOP_OVERHEAD = 1e-3  # seconds of a scan around its native loop


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
        kernel: Callable[[Tensor], Any],
        xs: Tensor,
        make_cell: Callable[[], Cell],
    ) -> bool:
        """Return whether the module's own kernel should be quicker than scans of all layers.

        Args:
            module: the module.
            kernel: runs its own kernel, without its hooks.
            xs: its inputs.
            make_cell: makes the cell of the first layer.
        """
        key = _shape_key(xs, _needs_gradient(module, xs))
        if key not in self._declined:
            self._declined[key] = self._try_both(module, kernel, xs, make_cell)
        return self._declined[key]

    def remember_run(self, module: nn.RNNBase, xs: Tensor, seconds: float) -> None:
        """Decline from now on where scans took longer than the kernel.

        As cells learn to remember, Newton needs more rounds.
        """
        key = _shape_key(xs, _needs_gradient(module, xs))
        if seconds > self._kernel_seconds.get(key, float("inf")):
            self._declined[key] = True

    def forget_runs(self) -> None:
        """Forget all decisions."""
        self._declined.clear()

    def _try_both(
        self,
        module: nn.RNNBase,
        kernel: Callable[[Tensor], Any],
        xs: Tensor,
        make_cell: Callable[[], Cell],
    ) -> bool:
        steps = SequenceAxes.from_inputs(module, xs).put_time_first(xs.detach())
        needs_gradient = _needs_gradient(module, xs)
        cell = make_cell()
        width = module.hidden_size * count_state_tensors(module)
        start = steps.new_zeros(steps.shape[1], width)
        scan_seconds = measure_native_loop(cell, start, steps, needs_gradient)
        if scan_seconds is None:
            if len(steps) < MIN_NEWTON_LENGTH or width > MAX_NEWTON_WIDTH:
                return True
            with torch.no_grad():
                job = RecurrenceJob(cell, start, cell.prepare_inputs(steps), len(steps), self._max_bytes)
            rounds = NEWTON_ROUNDS + int(needs_gradient)
            scan_seconds = ROUND_MARGIN * rounds * measure_newton_round(job)
        kernel_seconds = measure_kernel(module, kernel, steps, needs_gradient)
        self._kernel_seconds[_shape_key(xs, needs_gradient)] = kernel_seconds
        layers = len(module._all_weights)
        return kernel_seconds < layers * scan_seconds


def measure_native_loop(
    cell: Cell,
    start: Tensor,
    steps: Tensor,
    needs_gradient: bool,
) -> float | None:
    """Return the seconds of the native loop over steps `(T, B, I)`, with its gradient or without; None without it.

    A module is called again and again, so that its kernels are worth loading.
    """

    def run_loop(inputs: Tensor) -> Tensor | None:
        return loop_natively(cell, start, cell.prepare_inputs(inputs), saved_calls=CALLS_WORTH_LOADING)

    if run_loop(steps[:1]) is None:
        return None
    return LOOP_OVERHEAD + measure_passes(run_loop, steps, 0, needs_gradient)


def measure_kernel(
    module: nn.RNNBase,
    kernel: Callable[[Tensor], Any],
    steps: Tensor,
    needs_gradient: bool,
) -> float:
    """Return the seconds of the module's own pass over steps `(T, B, I)`, with its gradient or without."""
    xs = steps
    time_axis = 0
    if module.batch_first:
        xs = steps.transpose(0, 1)
        time_axis = 1
    with torch.random.fork_rng(enabled=bool(module.dropout)):
        return measure_passes(lambda inputs: kernel(inputs)[0], xs, time_axis, needs_gradient)


def measure_passes(
    run: Callable[[Tensor], Any],
    xs: Tensor,
    time_axis: int,
    needs_gradient: bool,
) -> float:
    """Return the seconds of a pass over all steps of some inputs, on the line through two trials.

    The gradient is that by the inputs, which calls no hooks of parameters.
    """
    length = xs.shape[time_axis]

    def measure_steps(count: int) -> float:
        inputs = xs.narrow(time_axis, 0, count).detach().requires_grad_(needs_gradient)

        def take_pass() -> None:
            with torch.set_grad_enabled(needs_gradient):
                outputs = run(inputs)
                if needs_gradient:
                    torch.autograd.grad(outputs.sum(), inputs)

        return measure_quickest(take_pass)

    short, long = (min(trial_length, length) for trial_length in TRIAL_LENGTHS)
    short_seconds = measure_steps(short)
    long_seconds = measure_steps(long)
    return extend_line((short, short_seconds), (long, long_seconds), length)


def _needs_gradient(module: nn.RNNBase, xs: Tensor) -> bool:
    """Return whether a call of the module will be differentiated, as far as can be seen."""
    if not torch.is_grad_enabled() or (xs.is_cuda and not module.training):  # whose kernel has no gradient then
        return False
    return xs.requires_grad or any(parameter.requires_grad for parameter in module.parameters())


def _shape_key(xs: Tensor, needs_gradient: bool) -> Hashable:
    return xs.shape, xs.dtype, xs.device, needs_gradient
