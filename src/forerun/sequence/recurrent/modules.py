"""Drop-in modules: `torch.nn.GRU`, `LSTM` and `RNN` with their parameters, whose layers run ahead of order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from forerun.engine.methods import Method
from forerun.sequence.recurrent.cells import Cell, CellWeights, ElmanCell, GatedRecurrentCell, Memory
from forerun.sequence.recurrent.job import MARGIN, ROUNDS, SHORT, TRIALS, WIDE, RecurrenceJob, quickest
from forerun.sequence.recurrent.scan import ScanSolution, scan

MOST = 2**30  # bytes that Jacobians may take

KINDS: dict[str, Callable[[CellWeights], Cell]] = {
    "GRU": GatedRecurrentCell,
    "LSTM": Memory,
    "RNN_TANH": ElmanCell,
    "RNN_RELU": lambda weights: ElmanCell(weights, relu=True),
}


@final
class RNN(nn.Module):
    """A recurrent module of `torch.nn`, its layers run ahead of order; trains as the module itself does.

        rnn = RNN(torch.nn.GRU(16, 8, num_layers=2))
        outputs, h = rnn(xs)

    Calls take and return what the module does. The parameters are the module's own, and `state_dict` is that of the
    module, so weights go to and from `torch.nn` as they are.

    Args:
        module: `torch.nn.GRU`, `LSTM` or `RNN`.
        method: see `forerun.sequence.scan`; None takes the module's own fused kernel where that should be quicker, by a
            trial for every new shape of inputs.

    Attributes:
        runs: of the last call, one `ScanSolution` a layer (and direction); none where the fused kernel was taken.

    Raises:
        TypeError: it is another module.
        ValueError: it has projections (`proj_size`).
    """

    def __init__(self, module: nn.RNNBase, *, method: Method | None = None) -> None:
        super().__init__()
        if not isinstance(module, nn.RNNBase) or module.mode not in KINDS:
            raise TypeError(
                f"RNN takes torch.nn.GRU, LSTM or RNN, got {type(module).__name__}; for a cell of your own write "
                "forerun.sequence.scan(cell, h0, xs)"
            )
        if module.proj_size:
            raise ValueError(
                f"the module has proj_size={module.proj_size}, which is not supported; leave it out, or project its "
                "outputs with torch.nn.Linear"
            )
        for name, parameter in module.named_parameters():
            self.register_parameter(name, parameter)
        self._module = [module]  # in a list, so that its parameters are not counted twice
        self._method = method
        self._own: dict[Any, float] = {}  # seconds of the module's own kernel, by the shape of the inputs
        self._decided: dict[Any, bool] = {}  # whether it is taken
        self.runs: list[ScanSolution] = []

    def forward(self, xs: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Outputs and the last states, as the module returns them.

        Args:
            xs: `(T, B, I)`, `(B, T, I)` with `batch_first`, or `(T, I)` without a batch.
            hx: `(L, B, H)` with one entry a layer and direction, a pair of them for an LSTM; None for zeros.
        """
        module = self._module[0]
        if self._method is None and self._fused(xs):
            self.runs = []
            outputs, last = module(xs, hx)
            return outputs, last
        begun = time.perf_counter()
        found = self._ahead(xs, hx)
        key = self._key(xs)
        if time.perf_counter() - begun > self._own.get(key, float("inf")):
            self._decided[key] = True  # as cells learn to keep, Newton needs more rounds
        return found

    def _ahead(self, xs: Tensor, hx: Any) -> tuple[Tensor, Any]:
        module = self._module[0]
        alone, order = xs.dim() == 2, module.batch_first and xs.dim() == 3
        xs = xs.unsqueeze(1) if alone else xs.transpose(0, 1) if order else xs
        states = self._states(xs, hx, alone=alone)
        self.runs, last = [], []
        directions = 2 if module.bidirectional else 1
        for layer in range(module.num_layers):
            outputs = []
            for direction in range(directions):
                place = layer * directions + direction
                hidden, end = self._layer(xs, place, [state[place] for state in states], backward=bool(direction))
                outputs.append(hidden)
                last.append(end)
            xs = torch.cat(outputs, -1)
            if module.dropout and self.training and layer + 1 < module.num_layers:
                xs = nn.functional.dropout(xs, module.dropout)
        ends = [torch.stack(each) for each in zip(*last, strict=True)]
        ends = [end.squeeze(1) for end in ends] if alone else ends
        xs = xs.squeeze(1) if alone else xs.transpose(0, 1) if order else xs
        return xs, ends[0] if len(ends) == 1 else tuple(ends)

    def _fused(self, xs: Tensor) -> bool:
        """Whether the module's own kernel should be quicker than Newton on all layers."""
        key = self._key(xs)
        if key not in self._decided:
            self._decided[key] = self._compare(xs)
        return self._decided[key]

    def _key(self, xs: Tensor) -> Any:
        return xs.shape, xs.dtype, xs.device

    @torch.no_grad()
    def _compare(self, xs: Tensor) -> bool:
        module = self._module[0]
        steps = xs.unsqueeze(1) if xs.dim() == 2 else xs.transpose(0, 1) if module.batch_first else xs
        width, length = module.hidden_size * (2 if module.mode == "LSTM" else 1), len(steps)
        if length < SHORT or width > WIDE:
            return True
        cell = KINDS[module.mode](self._weights(0))
        job = RecurrenceJob(cell, steps.new_zeros(steps.shape[1], width), cell.prepare(steps), length, MOST)
        own = self._own[self._key(xs)] = _seconds(module, steps)
        return own < MARGIN * ROUNDS * len(module._all_weights) * job.round_costs()

    def _weights(self, place: int) -> CellWeights:
        module = self._module[0]
        found = [getattr(self, name) for name in module._all_weights[place]]
        return CellWeights(*(found if module.bias else [*found, None, None]))

    def _states(self, xs: Tensor, hx: Any, *, alone: bool) -> list[Tensor]:
        """First states `(L, B, H)`, two of them for an LSTM."""
        module = self._module[0]
        count = module.num_layers * (2 if module.bidirectional else 1)
        parts = 2 if module.mode == "LSTM" else 1
        shape = (count, xs.shape[1], module.hidden_size)
        if hx is None:
            return [xs.new_zeros(shape)] * parts
        given = [each.unsqueeze(1) if alone else each for each in (hx if parts == 2 else (hx,))]
        if len(given) != parts or any(each.shape != torch.Size(shape) for each in given):
            raise ValueError(f"the first state must be {parts} tensor(s) of shape {list(shape)}; pass None for zeros")
        return given

    def _layer(
        self, xs: Tensor, place: int, states: list[Tensor], *, backward: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs `(T, B, H)` of a layer in a direction, and its last states `(B, H)`."""
        module = self._module[0]
        start: Any = states[0] if len(states) == 1 else tuple(states)
        run = scan(KINDS[module.mode](self._weights(place)), start, xs.flip(0) if backward else xs, method=self._method)
        self.runs.append(run)
        hidden = (run.hidden,) if len(states) == 1 else run.hidden
        outputs = hidden[0].flip(0) if backward else hidden[0]
        return outputs, tuple(each[-1] for each in hidden)


def _seconds(module: nn.RNNBase, steps: Tensor) -> float:
    """Of the module's own forward pass over steps `(T, B, I)`, on the line through two shorter ones."""
    xs = steps.transpose(0, 1) if module.batch_first else steps
    axis = 1 if module.batch_first else 0

    def first(count: int) -> float:
        return quickest(lambda: module(xs.narrow(axis, 0, count)))

    few, many = (min(count, len(steps)) for count in TRIALS)
    with torch.random.fork_rng(enabled=bool(module.dropout)):
        low, high = first(few), first(many)
    return high + max(high - low, 0.0) / max(many - few, 1) * (len(steps) - many)
