"""Drop-in modules: `torch.nn.GRU`, `LSTM` and `RNN` with their parameters, whose layers run in parallel over time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Unpack, final

import torch
from torch import Tensor, nn

from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.sequence.recurrent.axes import SequenceAxes
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.kernel_choice import KernelChoice, count_state_tensors
from forerun.sequence.recurrent.scan import DEFAULT_JACOBIAN_BYTES, ScanSolution, scan
from forerun.sequence.recurrent.torch_cells import TORCH_CELLS, CellWeights


@final
class RNN(nn.Module):
    """A recurrent module of `torch.nn`, its layers run in parallel over time; trains as the module itself does.

        rnn = RNN(torch.nn.GRU(16, 8, num_layers=2))
        outputs, h = rnn(xs)

    Calls take and return what the module does. The parameters are the module's own, and `state_dict` is that of the
    module, so weights go to and from `torch.nn` as they are.

    Args:
        module: `torch.nn.GRU`, `LSTM` or `RNN`.
        options: how to solve, as one object.
        keywords: the options one by one; see `forerun.sequence.scan`. Without `method` the module's own fused kernel
            runs where that should be quicker, by a trial for every new shape of inputs.

    Attributes:
        runs: of the last call, one `ScanSolution` a layer (and direction); none where the fused kernel was taken.

    Raises:
        TypeError: it is another module.
        ValueError: it has projections (`proj_size`).
    """

    def __init__(
        self,
        module: nn.RNNBase,
        *,
        options: SolveOptions | None = None,
        **keywords: Unpack[SolveKeywords],
    ) -> None:
        super().__init__()
        _check_module(module)
        for name, parameter in module.named_parameters():
            self.register_parameter(name, parameter)
        self._modules_in_list = [module]  # in a list, so that its parameters are not counted twice
        self._options = SolveOptions.gather(options, keywords)
        self._kernel_choice = KernelChoice(module, max_bytes=DEFAULT_JACOBIAN_BYTES)
        self.runs: list[ScanSolution] = []

    def forward(self, xs: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Return outputs and the last states, as the module returns them.

        Args:
            xs: `(T, B, I)`, `(B, T, I)` with `batch_first`, or `(T, I)` without a batch.
            hx: `(L, B, H)` with one entry a layer and direction, a pair of them for an LSTM; None for zeros.
        """
        chooses = self._options.method is None
        if chooses and self._kernel_choice.declines(xs, self._first_cell):
            self.runs = []
            outputs, last_state = self._module(xs, hx)
            return outputs, last_state
        start_time = time.perf_counter()
        outputs, last_state = self._scan_layers(xs, hx)
        self._kernel_choice.remember_run(xs, time.perf_counter() - start_time)
        return outputs, last_state

    @property
    def _module(self) -> nn.RNNBase:
        return self._modules_in_list[0]

    @property
    def _directions(self) -> int:
        if self._module.bidirectional:
            return 2
        return 1

    def _scan_layers(self, xs: Tensor, hx: Any) -> tuple[Tensor, Any]:
        axes = SequenceAxes.from_inputs(self._module, xs)
        features = axes.put_time_first(xs)
        first_states = self._first_states(features, hx, axes)
        self.runs = []
        last_states: list[tuple[Tensor, ...]] = []
        for layer in range(self._module.num_layers):
            if layer > 0:
                features = self._drop_features(features)
            outputs = []
            for direction in range(self._directions):
                place = layer * self._directions + direction
                states = [state[place] for state in first_states]
                output, last_state = self._scan_direction(features, place, states)
                outputs.append(output)
                last_states.append(last_state)
            features = torch.cat(outputs, -1)
        return axes.restore_order(features), _stack_states(last_states, axes)

    def _scan_direction(
        self,
        features: Tensor,
        place: int,
        states: Sequence[Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return outputs `(T, B, H)` of a layer in a direction, and its last states `(B, H)`."""
        backward = place % self._directions == 1
        start: Any = states[0]
        if len(states) > 1:
            start = tuple(states)
        inputs = features
        if backward:
            inputs = features.flip(0)
        run = scan(self._make_cell(place), start, inputs, options=self._options)
        self.runs.append(run)
        hidden: tuple[Tensor, ...] = run.hidden
        if len(states) == 1:
            hidden = (run.hidden,)
        outputs = hidden[0]
        if backward:
            outputs = outputs.flip(0)
        last_state = tuple(tensor[-1] for tensor in hidden)
        return outputs, last_state

    def _drop_features(self, features: Tensor) -> Tensor:
        """Return the features between two layers, after the module's dropout."""
        if self._module.dropout and self.training:
            return nn.functional.dropout(features, self._module.dropout)
        return features

    def _first_cell(self) -> Cell:
        return self._make_cell(0)

    def _make_cell(self, place: int) -> Cell:
        """Return the cell of a layer in a direction."""
        module = self._module
        weights = [getattr(self, name) for name in module._all_weights[place]]
        if not module.bias:
            weights += [None, None]
        return TORCH_CELLS[module.mode](CellWeights(*weights))

    def _first_states(
        self,
        features: Tensor,
        hx: Any,
        axes: SequenceAxes,
    ) -> list[Tensor]:
        """Return the first states `(L, B, H)`, two of them for an LSTM."""
        module = self._module
        count = count_state_tensors(module)
        shape = torch.Size(
            [
                module.num_layers * self._directions,
                features.shape[1],
                module.hidden_size,
            ]
        )
        if hx is None:
            return [features.new_zeros(shape)] * count
        tensors = hx
        if count == 1:
            tensors = [hx]
        states = [axes.add_batch(tensor) for tensor in tensors]
        shapes = [state.shape for state in states]
        if shapes != [shape] * count:
            raise ValueError(f"the first state must be {count} tensor(s) of shape {list(shape)}; pass None for zeros")
        return states


def _stack_states(last_states: Sequence[tuple[Tensor, ...]], axes: SequenceAxes) -> Any:
    """Return the last states of all layers as the module returns them: `(L, B, H)`, a pair of them for an LSTM."""
    stacked = []
    for tensors in zip(*last_states, strict=True):
        stacked.append(axes.drop_batch(torch.stack(tensors)))
    if len(stacked) == 1:
        return stacked[0]
    return tuple(stacked)


def _check_module(module: Any) -> None:
    if not isinstance(module, nn.RNNBase) or module.mode not in TORCH_CELLS:
        raise TypeError(
            f"RNN takes torch.nn.GRU, LSTM or RNN, got {type(module).__name__}; for a cell of your own write "
            "forerun.sequence.scan(cell, h0, xs)"
        )
    if module.proj_size:
        raise ValueError(
            f"the module has proj_size={module.proj_size}, which is not supported; leave it out, or project its "
            "outputs with torch.nn.Linear"
        )
