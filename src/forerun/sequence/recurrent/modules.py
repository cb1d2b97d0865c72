"""Drop-in modules: `torch.nn.GRU`, `LSTM` and `RNN` with their parameters, whose layers run in parallel over time."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any, Self, Unpack, final

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.kernel_choice import KernelChoice
from forerun.sequence.recurrent.layer_scan import LayerScan, make_layer_cell, scan_layers
from forerun.sequence.recurrent.module_witness import witness_module
from forerun.sequence.recurrent.obstacles import describe_obstacle, report_fallback
from forerun.sequence.recurrent.path_witness import settle_witness
from forerun.sequence.recurrent.scan import DEFAULT_JACOBIAN_BYTES, ScanSolution
from forerun.sequence.recurrent.torch_cells import TORCH_CELLS

QUICKER_KERNEL_NOTE = "The module's own kernel was taken: from a trial, it is the quicker one for inputs of this shape."


class RNN(nn.RNNBase):
    """A recurrent module of `torch.nn`, its layers run in parallel over time; trains as the module itself does.

        rnn = RNN(torch.nn.GRU(16, 8, num_layers=2))
        outputs, h = rnn(xs)

    `RNN(gru)` is a `torch.nn.GRU` (`isinstance` says so) that shares all that `gru` consists of: parameters, buffers,
    hooks and parametrizations, so that `state_dict`, `train()`, `functional_call`, pruning and deep copies are torch's
    own. Where steps in parallel cannot stand for the module (autocast, half precision, packed sequences, empty batches,
    transforms of `torch.func`), its own kernel runs, and `notes` says why.

    On the first step, some drawn at random and the last the module's own kernel is called from the states of the
    scans; where it gives something else its outputs are returned, with a `WitnessWarning`.

    Args:
        module: `torch.nn.GRU`, `LSTM` or `RNN`.
        options: how to solve, as one object.
        keywords: the options one by one; see `forerun.sequence.scan`. Without `method` the module's own fused kernel
            runs where that should be quicker, by a trial for every new shape of inputs.

    Attributes:
        runs: of the last call, one `ScanSolution` a layer (and direction); none where the fused kernel was taken.
        notes: of the last call, why the module's own kernel was taken, if it was.

    Raises:
        TypeError: it is another module, or one whose `forward` is its own.
        ValueError: it has projections (`proj_size`).
    """

    def __new__(cls, module: Any = None, **_: Any) -> Self:
        """Return an empty module of the class that is also a `torch.nn.GRU`, `LSTM` or `RNN`."""
        if cls is not RNN:
            return super().__new__(cls)
        _check_module(module)
        return super().__new__(PARALLEL_CLASSES[module.mode])  # type: ignore[return-value]

    def __init__(
        self,
        module: nn.RNNBase,
        *,
        options: SolveOptions | None = None,
        **keywords: Unpack[SolveKeywords],
    ) -> None:
        self.__dict__.update(module.__dict__)  # the same parameters, buffers and hooks, not copies
        self._options = SolveOptions.gather(options, keywords)
        self._kernel_choice = KernelChoice(max_bytes=DEFAULT_JACOBIAN_BYTES)
        self._last_call = CallRecord()

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Return outputs and the last states, as the module returns them.

        Args:
            input: `(T, B, I)`, `(B, T, I)` with `batch_first`, or `(T, I)` without a batch; or a `PackedSequence`.
            hx: `(L, B, H)` with one entry a layer and direction, a pair of them for an LSTM; None for zeros.
        """
        self._last_call.clear_all()
        obstacle = self._describe_obstacle(input)
        if obstacle is not None:
            return self._take_kernel(input, hx, obstacle)
        if self._options.method is None and self._kernel_choice.declines(
            self, self._run_kernel, input, self._make_cell
        ):
            self._last_call.notes.append(QUICKER_KERNEL_NOTE)
            return self._run_kernel(input, hx)
        start_time = time.perf_counter()
        result = scan_layers(self, input, hx, self._options)
        outputs = self._witness_scans(result, input, hx)
        if any(
            run.log for run in self.runs
        ):  # with more rounds as the cell learns; the native loop takes what it takes
            self._kernel_choice.remember_run(self, input, time.perf_counter() - start_time)
        return outputs

    @property
    def runs(self) -> list[ScanSolution]:
        """The runs of the last call."""
        return self._last_call.runs

    @property
    def notes(self) -> list[str]:
        """Sentences about the last call."""
        return self._last_call.notes

    def _run_kernel(self, xs: Any, hx: Any = None) -> tuple[Any, Any]:
        """Return what the module itself returns."""
        outputs, last_state = super().forward(xs, hx)
        return outputs, last_state

    def _make_cell(self) -> Cell:
        """Return the cell of the first layer."""
        return make_layer_cell(self, 0)

    def _describe_obstacle(self, xs: Any) -> str | None:
        if isinstance(xs, PackedSequence):
            return "the sequences of a PackedSequence end at different steps"
        if not self._takes_inputs(xs):
            return "its inputs are of another kind"  # torch says what it takes
        return describe_obstacle([xs, *self.parameters()])

    def _takes_inputs(self, xs: Any) -> bool:
        """Return whether inputs have the axes and features that the module reads."""
        if not isinstance(xs, Tensor) or xs.dim() not in {2, 3}:
            return False
        return xs.shape[-1] == self.input_size

    def _take_kernel(self, xs: Any, hx: Any, reason: str) -> tuple[Any, Any]:
        """Return what the module itself returns, and say why; aloud, where a method was asked for."""
        note = f"The module's own kernel was taken: {reason}."
        if self._options.method is not None:
            report_fallback(note, strict=bool(self._options.strict))
        self._last_call.notes.append(note)
        return self._run_kernel(xs, hx)

    def _witness_scans(self, result: LayerScan, xs: Tensor, hx: Any) -> tuple[Any, Any]:
        """Return what the scans gave, or what the module itself gives where its kernel disagrees."""
        witness = settle_witness(self._options, xs)
        if witness is None:
            self._last_call.runs.extend(result.runs)
            self._last_call.notes.append("The module's own kernel was not called as a witness (witness=False).")
            return result.outputs, result.last_state
        count, difference = witness_module(self, self._run_kernel, xs, result, witness=witness)
        if difference is not None:
            note = f"The module's own kernel was taken, as it disagrees with the scans of its layers: {difference}."
            report_fallback(note, strict=bool(self._options.strict))
            self._last_call.notes.append(note)
            return self._run_kernel(xs, hx)
        self._last_call.runs.extend(replace(run, witnessed=count) for run in result.runs)
        return result.outputs, result.last_state

    def __getattr__(self, name: str) -> Any:
        """Return a parameter, or what a parametrization that was put on the module later makes of it."""
        modules = self.__dict__.get("_modules", {})
        parametrizations = modules.get("parametrizations", {})
        if name in parametrizations:
            return parametrizations[name]()
        return super().__getattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = nn.RNNBase.__getstate__(self)
        state["_flat_weights"] = []  # made again from the parameters
        for name in self._flat_weights_names:
            if name in state:  # pruning and weight norm compute it before every call
                state[name] = state[name].detach()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._init_flat_weights()

    def __deepcopy__(self, memo: dict[int, Any]) -> RNN:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        RNN.__setstate__(twin, copy.deepcopy(RNN.__getstate__(self), memo))
        return twin


@final
class ParallelGRU(RNN, nn.GRU):
    """A `torch.nn.GRU` whose layers run in parallel over time."""


@final
class ParallelLSTM(RNN, nn.LSTM):
    """A `torch.nn.LSTM` whose layers run in parallel over time."""


@final
class ParallelElman(RNN, nn.RNN):
    """A `torch.nn.RNN` whose layers run in parallel over time."""


PARALLEL_CLASSES: dict[str, type[RNN]] = {  # by the mode of a module of torch.nn
    "GRU": ParallelGRU,
    "LSTM": ParallelLSTM,
    "RNN_TANH": ParallelElman,
    "RNN_RELU": ParallelElman,
}


@final
class CallRecord:
    """What the last call of a module left: its runs and notes; copies and pickles of it are empty."""

    def __init__(self) -> None:
        self.runs: list[ScanSolution] = []
        self.notes: list[str] = []

    def clear_all(self) -> None:
        """Forget the last call; lists that were handed out keep what they have."""
        self.runs = []
        self.notes = []

    def __deepcopy__(self, memo: dict[int, Any]) -> CallRecord:
        return CallRecord()

    def __reduce__(self) -> tuple[type[CallRecord], tuple[()]]:
        return CallRecord, ()


def _check_module(module: Any) -> None:
    if not isinstance(module, nn.RNNBase) or module.mode not in TORCH_CELLS:
        raise TypeError(
            f"RNN takes torch.nn.GRU, LSTM or RNN, got {type(module).__name__}; for a cell of your own write "
            "forerun.sequence.scan(cell, h0, xs)"
        )
    if not _has_torch_forward(module):
        raise TypeError(
            f"{type(module).__name__} has a forward of its own, which RNN does not know; keep what it adds outside, "
            "and pass the torch.nn module, or write forerun.sequence.scan(cell, h0, xs)"
        )
    if module.proj_size:
        raise ValueError(
            f"the module has proj_size={module.proj_size}, which is not supported; leave it out, or project its "
            "outputs with torch.nn.Linear"
        )


def _has_torch_forward(module: nn.RNNBase) -> bool:
    """Return whether calls of a module run the forward of `torch.nn`, or ours."""
    if "forward" in module.__dict__:
        return False
    known = {RNN.forward, nn.GRU.forward, nn.LSTM.forward, nn.RNN.forward}
    return type(module).forward in known
