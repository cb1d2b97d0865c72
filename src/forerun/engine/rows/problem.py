"""Problem: a process in rows, as methods see it."""

from __future__ import annotations

import threading
from typing import Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.autocast import call_as_user, hides_autocast
from forerun.engine.numerics.in_place import ChangedInPlace, InPlaceWatch, hold_same_leaves, read_versions
from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.row_memory import RowMemory
from forerun.engine.numerics.tree import (
    Tree,
    describe_tree,
    tree_map,
    tree_tensors,
)
from forerun.engine.process import Process
from forerun.engine.rows.affine_maps import AffineCache, AffineMaps

CLOSED_FORM_ROUNDINGS: Final = 4096  # of the state's dtype, that a closed form may differ from `advance`
COARSEST_ROUNDING: Final = 0.05  # of the largest value, however coarse the dtype


class EvaluatingThread(threading.local):
    """What `evaluate` was given and has returned in this thread, as a backend may call it in several.

    Attributes:
        watch: tells whether a call changes its inputs.
        last_outputs: of the last call.
    """

    def __init__(self) -> None:
        self.watch = InPlaceWatch()
        self.last_outputs: list[Tensor] = []


class Problem:
    """A process in rows: what solving it looks like to methods, `(W, *batch, D)` in, `(W, *batch, E)` out.

    The layout of the outputs is learnt from the first evaluation.
    """

    def __init__(self, process: Process, state: Tree) -> None:
        self.process = process
        self._is_cast = hides_autocast()
        self._advance_watch = InPlaceWatch()
        self._thread = EvaluatingThread()
        observed = _observe_unchanged(process, state)
        self.input_layout = RowLayout.from_tree(
            observed,
            batch_dims=process.batch_dims,
            name="input",
        )
        self._affine_cache = AffineCache(process, self.input_layout)
        self._states_are_coarse = any(dtype != self.input_layout.dtype for dtype in self.input_layout.dtypes)
        self._output_layout: RowLayout | None = None
        self.excluded: Tensor | None = (
            None  # samples (*batch) whose outputs are zero, as a step of theirs was not finite
        )
        self._closed_sweeps = 0
        self.memory = RowMemory()

    @property
    def output_layout(self) -> RowLayout:
        """How outputs lie in rows."""
        assert self._output_layout is not None, "no output before the first evaluation"
        return self._output_layout

    @property
    def knows_outputs(self) -> bool:
        """Whether an output was seen, so that its layout is known."""
        return self._output_layout is not None

    @property
    def length(self) -> int:
        """Number of steps of the process."""
        return self.process.length

    @property
    def accepts_slopes(self) -> bool:
        """Whether a slope can map an input's move to an output's: both rows are equally wide."""
        return self.input_layout.width == self.output_layout.width

    @property
    def accepts_interpolation(self) -> bool:
        """Whether an output may be interpolated between others: all numbers float; not known before an evaluation."""
        if self._output_layout is None:
            return False
        dtypes = self.input_layout.dtypes + self._output_layout.dtypes
        return all(dtype.is_floating_point for dtype in dtypes)

    def step_range(self, start: int, stop: int) -> Tensor:
        """Return the steps `start .. stop-1`, int64 on the inputs' device."""
        return torch.arange(start, stop, device=self.input_layout.device)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return output rows `(W, *batch, E)` of input rows `(W, *batch, D)`."""
        thread = self._thread
        thread.watch.begin_call([inputs])
        versions = read_versions(thread.last_outputs)
        outputs = call_as_user(self.process.evaluate, steps, self.input_layout.unpack(inputs))
        if thread.watch.is_changed([inputs]):
            raise ChangedInPlace(
                "evaluate modified its inputs in place, and with them the states that they are views of; let it return "
                "new tensors, such as x * 1.01 for x.mul_(1.01), or begin with x = x.clone()"
            )
        if read_versions(thread.last_outputs) != versions:
            raise ChangedInPlace(
                "evaluate wrote into the outputs that it had returned before: it returns one buffer again and again; "
                "let it return new tensors, such as buffer.clone()"
            )
        rows = self.pack_outputs(outputs, len(steps))
        thread.last_outputs = [rows]
        return rows if self.excluded is None else rows.masked_fill(self.excluded.unsqueeze(-1), 0.0)

    def observe(self, state: Tree) -> Tensor:
        """Return the input row `(*batch, D)` of a state."""
        if self._is_cast:
            return self.input_layout.pack(call_as_user(self.process.observe, state))
        return self.input_layout.pack(self.process.observe(state))

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        """Return the next state, from an output row `(*batch, E)`."""
        if self._is_cast:
            return call_as_user(self.process.advance, step, state, self.output_layout.unpack(output))
        return self.process.advance(step, state, self.output_layout.unpack(output))

    def advance_first(self, step: int, state: Tree, output: Tensor) -> Tree:
        """Return the next state of the first step of a sweep, and see to it that `advance` changes nothing in place."""
        tensors = [state, output] if isinstance(state, Tensor) else [*tree_tensors(state), output]
        self._advance_watch.begin_call(tensors)
        leaves = pytree.tree_leaves(state)
        next_state = self.advance(step, state, output)
        if self._advance_watch.is_changed(tensors) or not hold_same_leaves(leaves, pytree.tree_leaves(state)):
            raise ChangedInPlace(
                f"advance modified its arguments in place at step {step}: the state {describe_tree(state)} or the "
                "output; let it return new tensors, such as x + o for x += o, or begin with x = x.clone()"
            )
        return next_state

    def require_same_steps(
        self,
        step: int,
        state: Tree,
        outputs: Tensor,
        inputs: Tensor,
    ) -> None:
        """Hold the closed form against `advance` itself, in the sweeps 1, 2, 4, 8 and so on.

        Args:
            step: the first of a sweep.
            state: its state.
            outputs: of the sweep, `(W, *batch, E)`.
            inputs: as the closed form gave them, `(W + 1, *batch, D)`.

        Raises:
            ValueError: they disagree by more than rounding, or `advance` changes the kind of the state.
        """
        self._closed_sweeps += 1
        if self._closed_sweeps & (self._closed_sweeps - 1):
            return
        true_input = self.observe(self.advance_first(step, state, outputs[0]))
        difference = _describe_rounding(true_input, inputs[1], self.input_layout)
        if difference is not None:
            raise ValueError(
                f"affine and advance disagree at step {step}: {difference}. Let affine give a, b and c with "
                "advance(i, x, o) = a x + b o + c, in the precision of the state, or return None"
            )

    def affine_maps(self, start: int, count: int) -> AffineMaps | None:
        """Return `advance` of the steps `start .. start+count-1` in closed form, where the process gives one.

        None too where states are coarser than rows: the loop rounds every state, a closed form would not.
        """
        if self._states_are_coarse:
            return None
        return self._affine_cache.select_maps(start, count)

    def has_closed_form(self, start: int, count: int) -> bool:
        """Whether `affine_maps` gives `advance` of the steps `start .. start+count-1`."""
        if self._states_are_coarse:
            return False
        return self._affine_cache.covers_steps(start, count) or self.affine_maps(start, count) is not None

    def affine_factors(self, start: int, count: int) -> AffineMaps:
        """Return the closed form without its shifts, of steps that have one, however long ago they were swept."""
        maps = self._affine_cache.select_factors(start, count)
        assert maps is not None, "has_closed_form was asked first"
        return maps

    def pack_outputs(self, outputs: Tree, count: int) -> Tensor:
        """Return output rows `(count, *batch, E)` of what `evaluate` returned."""
        if self._output_layout is None:
            self._output_layout = self._learn_layout(outputs, count)
        return self._output_layout.pack(outputs, count)

    def pack_output(self, output: Tree) -> Tensor:
        """Return the row `(1, *batch, E)` of one step's output; learns the layout, where nothing was evaluated yet."""
        return self.pack_outputs(tree_map(lambda leaf: leaf.unsqueeze(0), output), 1)

    def _learn_layout(self, outputs: Tree, count: int) -> RowLayout:
        """Return the layout of one step's output, from the outputs of `count` steps."""
        if not all(_has_steps(leaf, count) for leaf in tree_tensors(outputs)):
            raise ValueError(
                f"evaluate was given {count} step(s) and returned {describe_tree(outputs)}; every tensor it returns "
                f"must begin with that axis of {count}, as the inputs do; for a function of one "
                "step use Process.from_step(f, length)"
            )
        first = tree_map(lambda leaf: leaf[0], outputs)
        layout = RowLayout.from_tree(first, batch_dims=self.process.batch_dims, name="output")
        inputs = self.input_layout
        if layout.batch != inputs.batch or layout.device != inputs.device:
            raise ValueError(
                f"evaluate returned {describe_tree(outputs)} on {layout.device}, but its inputs have batch axes "
                f"{list(inputs.batch)} on {inputs.device}; keep both, or set batch_dims = 0"
            )
        return layout


def _observe_unchanged(process: Process, state: Tree) -> Tree:
    """Return what a process observes of a state, and see to it that it changes nothing in place."""
    watch, tensors = InPlaceWatch(), tree_tensors(state)
    watch.begin_call(tensors)
    observed = call_as_user(process.observe, state)
    if watch.is_changed(tensors):
        raise ChangedInPlace(
            f"observe modified the state {describe_tree(state)} in place; let it return a part of the state, or a new "
            "tensor"
        )
    return observed


def _has_steps(leaf: Tensor, count: int) -> bool:
    """Whether a tensor has a leading axis of `count` steps."""
    return leaf.dim() > 0 and len(leaf) == count


def _describe_rounding(true_input: Tensor, closed_input: Tensor, layout: RowLayout) -> str | None:
    """Say how two input rows differ, by more than rounding; None where they do not, or are not finite."""
    if not true_input.numel():
        return None
    distance, size = torch.stack([(true_input - closed_input).abs().amax(), true_input.abs().amax()]).tolist()
    dtypes = [dtype for dtype in layout.dtypes if dtype.is_floating_point]
    epsilon = max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0)
    if not distance > min(CLOSED_FORM_ROUNDINGS * epsilon, COARSEST_ROUNDING) * max(size, 1.0):
        return None
    return f"advance gives inputs of up to {size:.3g}, and the closed form differs from them by {distance:.2g}"
