"""The witness of a recurrent module: its own kernel on single steps, from the states that the scans gave."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from forerun.engine.witness import Witness, WitnessMemory, describe_difference
from forerun.sequence.recurrent.axes import SequenceAxes
from forerun.sequence.recurrent.layer_scan import LayerScan, count_directions

AGREED_MODULES = WitnessMemory()

Kernel = Callable[[Tensor, Any], tuple[Tensor, Any]]


@torch.no_grad()
def witness_module(
    module: nn.RNNBase,
    kernel: Kernel,
    xs: Tensor,
    result: LayerScan,
    *,
    witness: Witness,
) -> tuple[int, str | None]:
    """Return how many steps the module's own kernel was called on, and how it differs, if it does.

    A step of the kernel begins with what every layer and direction had before it; the state it ends with is held
    against what they have after it. Behind dropout the layers read what cannot be drawn again: the first alone is
    compared.
    """
    steps = SequenceAxes.from_inputs(module, xs).put_time_first(xs)
    key = _name_configuration(module, steps)
    chosen = witness.choose_steps(len(steps), known_to_agree=key in AGREED_MODULES)
    compared = len(result.places)
    if module.training and module.dropout:
        compared = count_directions(module)
    for step in chosen:
        x = steps[step : step + 1]
        first_state = _collect_states(result, step, before=True)
        kernel_state = _call_kernel(module, kernel, x, first_state)
        scan_state = _collect_states(result, step, before=False)
        difference = describe_difference(
            _select_places(kernel_state, compared),
            _select_places(scan_state, compared),
            roundings=witness.roundings,
        )
        if difference is not None:
            AGREED_MODULES.forget(key)
            return len(chosen), f"at step {step} {difference}"
    AGREED_MODULES.remember(key)
    return len(chosen), None


def _select_places(state: list[Tensor], count: int) -> list[Tensor]:
    """Return the states of the first layers and directions."""
    return [tensor[:count] for tensor in state]


def _collect_states(result: LayerScan, step: int, *, before: bool) -> list[Tensor]:
    """Return the states of all layers and directions around a step, `(L, B, H)`, two of an LSTM."""
    states = []
    for place in result.places:
        if before:
            states.append(place.state_before(step))
        else:
            states.append(place.state_after(step))
    return [torch.stack(tensors) for tensors in zip(*states, strict=True)]


def _call_kernel(
    module: nn.RNNBase,
    kernel: Kernel,
    x: Tensor,
    states: list[Tensor],
) -> list[Tensor]:
    """Return the states after one step `(1, B, I)` of the module's own kernel."""
    if module.batch_first:
        x = x.transpose(0, 1)
    if len(states) == 1:
        _, state = kernel(x, states[0])
        return [state]
    _, pair = kernel(x, tuple(states))
    return list(pair)


def _name_configuration(module: nn.RNNBase, steps: Tensor) -> Hashable:
    """Return what is the same for modules and inputs that are computed alike."""
    sizes = (
        module.input_size,
        module.hidden_size,
        module.num_layers,
        module.bidirectional,
        module.bias,
    )
    drops = bool(module.dropout and module.training)
    return module.mode, sizes, drops, steps.shape, steps.dtype, steps.device
