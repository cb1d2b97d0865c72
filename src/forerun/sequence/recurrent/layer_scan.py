"""The layers of a recurrent module of `torch.nn`, one scan for each and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from forerun.engine.options import SolveOptions
from forerun.sequence.recurrent.axes import SequenceAxes
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.scan import NO_CELL_WITNESS_NOTE, ScanSolution, scan
from forerun.sequence.recurrent.torch_cells import TORCH_CELLS, CellWeights

NO_WITNESS = SolveOptions(witness=False)


@dataclass(frozen=True)
class DirectionStates:
    """The states of a layer in a direction, in the order of time.

    Attributes:
        start: what the direction began with, one tensor `(B, H)`, two of an LSTM.
        hidden: after every step, `(T, B, H)` each.
        backward: whether it runs from the last step to the first.
    """

    start: tuple[Tensor, ...]
    hidden: tuple[Tensor, ...]
    backward: bool

    def state_before(self, step: int) -> list[Tensor]:
        """Return the state that a step begins with, which comes after it in time where the direction is backward."""
        neighbour = step - 1
        if self.backward:
            neighbour = step + 1
        if not 0 <= neighbour < len(self.hidden[0]):
            return list(self.start)
        return [tensor[neighbour] for tensor in self.hidden]

    def state_after(self, step: int) -> list[Tensor]:
        """Return the state that a step ends with."""
        return [tensor[step] for tensor in self.hidden]

    @property
    def last_state(self) -> list[Tensor]:
        """The state that the direction ends with."""
        end = -1
        if self.backward:
            end = 0
        return [tensor[end] for tensor in self.hidden]


@dataclass(frozen=True)
class LayerScan:
    """What the scans of all layers give.

    Attributes:
        outputs: as the module returns them.
        last_state: as the module returns it.
        places: the states of every layer and direction.
        runs: the solution of every layer and direction.
    """

    outputs: Tensor
    last_state: Any
    places: Sequence[DirectionStates]
    runs: Sequence[ScanSolution]


def count_directions(module: nn.RNNBase) -> int:
    """Return how many directions a layer of the module has."""
    if module.bidirectional:
        return 2
    return 1


def count_state_tensors(module: nn.RNNBase) -> int:
    """Return how many tensors a state of the module has: two of an LSTM, one of others."""
    if module.mode == "LSTM":
        return 2
    return 1


def make_layer_cell(module: nn.RNNBase, place: int) -> Cell:
    """Return the cell of a layer in a direction, with the weights that the module's attributes give now."""
    weights = [getattr(module, name) for name in module._all_weights[place]]
    if not module.bias:
        weights += [None, None]
    return TORCH_CELLS[module.mode](CellWeights(*weights))


def scan_layers(
    module: nn.RNNBase,
    xs: Tensor,
    hx: Any,
    options: SolveOptions,
) -> LayerScan:
    """Return the outputs and states of all layers of a module.

    Raises:
        ValueError: the first state has another shape.
    """
    axes = SequenceAxes.from_inputs(module, xs)
    features = axes.put_time_first(xs)
    module.check_input(features, None)
    first_states = read_first_states(module, features, hx, axes)
    directions = count_directions(module)
    places: list[DirectionStates] = []
    runs: list[ScanSolution] = []
    for layer in range(module.num_layers):
        if layer > 0:
            features = _drop_features(module, features)
        for place in range(layer * directions, (layer + 1) * directions):
            start = tuple(state[place] for state in first_states)
            backward = place % directions == 1
            run = _scan_direction(make_layer_cell(module, place), features, start, backward=backward, options=options)
            runs.append(run)
            places.append(_order_states(run, start, backward))
        features = torch.cat([states.hidden[0] for states in places[-directions:]], -1)
    last_state = _stack_states([states.last_state for states in places], axes)
    return LayerScan(axes.restore_order(features), last_state, places, runs)


def read_first_states(
    module: nn.RNNBase,
    features: Tensor,
    hx: Any,
    axes: SequenceAxes,
) -> list[Tensor]:
    """Return the first states `(L, B, H)`, two of them for an LSTM."""
    count = count_state_tensors(module)
    rows = module.num_layers * count_directions(module)
    shape = torch.Size([rows, features.shape[1], module.hidden_size])
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


def _scan_direction(
    cell: Cell,
    features: Tensor,
    start: tuple[Tensor, ...],
    *,
    backward: bool,
    options: SolveOptions,
) -> ScanSolution:
    """Return the run of a layer in a direction; its module is witnessed as a whole."""
    inputs = features
    if backward:
        inputs = features.flip(0)
    first: Any = start
    if len(start) == 1:
        first = start[0]
    run = scan(cell, first, inputs, options=NO_WITNESS.over(options))
    notes = [note for note in run.notes if note != NO_CELL_WITNESS_NOTE]
    return replace(run, notes=tuple(notes))


def _order_states(run: ScanSolution, start: tuple[Tensor, ...], backward: bool) -> DirectionStates:
    hidden: tuple[Tensor, ...] = run.hidden
    if len(start) == 1:
        hidden = (run.hidden,)
    if backward:
        hidden = tuple(tensor.flip(0) for tensor in hidden)
    return DirectionStates(start, hidden, backward)


def _drop_features(module: nn.RNNBase, features: Tensor) -> Tensor:
    """Return the features between two layers, after the module's dropout."""
    if module.dropout and module.training:
        return nn.functional.dropout(features, module.dropout)
    return features


def _stack_states(last_states: Sequence[Sequence[Tensor]], axes: SequenceAxes) -> Any:
    """Return the last states of all layers as the module returns them: `(L, B, H)`, a pair of them for an LSTM."""
    stacked = []
    for tensors in zip(*last_states, strict=True):
        stacked.append(axes.drop_batch(torch.stack(tensors)))
    if len(stacked) == 1:
        return stacked[0]
    return tuple(stacked)
