"""Problem: a process in rows, as methods see it."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.numerics.layout import RowLayout
from forerun.engine.numerics.tree import (
    Tree,
    describe_tree,
    tree_map,
    tree_tensors,
)
from forerun.engine.process import Process
from forerun.engine.rows.affine_maps import AffineCache, AffineMaps


class Problem:
    """A process in rows: what solving it looks like to methods, `(W, *batch, D)` in, `(W, *batch, E)` out.

    The layout of the outputs is learnt from the first evaluation.
    """

    def __init__(self, process: Process, state: Tree) -> None:
        self.process = process
        observed = process.observe(state)
        self.input_layout = RowLayout.from_tree(
            observed,
            batch_dims=process.batch_dims,
            name="input",
        )
        self.first_input = self.input_layout.pack(observed)
        self._affine_cache = AffineCache(process, self.input_layout)
        self._states_are_coarse = any(dtype != self.input_layout.dtype for dtype in self.input_layout.dtypes)
        self._output_layout: RowLayout | None = None

    @property
    def output_layout(self) -> RowLayout:
        """How outputs lie in rows."""
        assert self._output_layout is not None, "no output before the first evaluation"
        return self._output_layout

    @property
    def length(self) -> int:
        """Number of steps of the process."""
        return self.process.length

    @property
    def accepts_slopes(self) -> bool:
        """Whether a slope can map an input's move to an output's: both rows are equally wide."""
        return self.input_layout.width == self.output_layout.width

    def step_range(self, start: int, stop: int) -> Tensor:
        """Return the steps `start .. stop-1`, int64 on the inputs' device."""
        return torch.arange(start, stop, device=self.input_layout.device)

    def evaluate(self, steps: Tensor, inputs: Tensor) -> Tensor:
        """Return output rows `(W, *batch, E)` of input rows `(W, *batch, D)`."""
        outputs = self.process.evaluate(steps, self.input_layout.unpack(inputs))
        return self.pack_outputs(outputs, len(steps))

    def observe(self, state: Tree) -> Tensor:
        """Return the input row `(*batch, D)` of a state."""
        return self.input_layout.pack(self.process.observe(state))

    def advance(self, step: int, state: Tree, output: Tensor) -> Tree:
        """Return the next state, from an output row `(*batch, E)`."""
        return self.process.advance(step, state, self.output_layout.unpack(output))

    def affine_maps(self, start: int, count: int) -> AffineMaps | None:
        """Return `advance` of the steps `start .. start+count-1` in closed form, where the process gives one.

        None too where states are coarser than rows: the loop rounds every state, a closed form would not.
        """
        if self._states_are_coarse:
            return None
        return self._affine_cache.select_maps(start, count)

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


def _has_steps(leaf: Tensor, count: int) -> bool:
    """Whether a tensor has a leading axis of `count` steps."""
    return leaf.dim() > 0 and len(leaf) == count
