"""PlainStep: one step as the user's own loop takes it, by raw `evaluate` and `advance`, without rows between."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, final

import torch
from torch import Tensor

from forerun.engine.numerics.in_place import ChangedInPlace, InPlaceWatch, read_version, read_versions
from forerun.engine.numerics.tree import Tree, describe_tree, join_trees, tree_map, tree_tensors
from forerun.engine.process import StepFunction, StepProcess
from forerun.engine.rows import Problem

WORKS_IN_PLACE: Final = (
    "evaluate modified its inputs in place, or advance modified its arguments in place, at step {}, whose state is {}; "
    "let them return new tensors, such as x + o for x += o, or begin with x = x.clone()"
)


@final
class PlainStep:
    """Takes the steps of a process one by one, and keeps what it evaluates.

    A plain function of a step is called as it is; then nothing is evaluated besides, and the outputs follow from the
    states.

    Args:
        problem: the process, in rows.

    Attributes:
        outputs: those of the steps so far, each with a leading axis of one.
    """

    def __init__(self, problem: Problem) -> None:
        self.outputs: list[Tree] = []
        self._problem = problem
        self._process = problem.process
        self._is_quick = False  # nothing but the versions of one tensor need to be compared
        self._function: StepFunction | None = None
        if isinstance(self._process, StepProcess) and not self._process.is_batched:
            self._function = self._process.function

    def take_first(self, step: int, index: Tensor, state: Tree) -> Tree:
        """Return the state after the first step of several, and hold what is evaluated against the contract.

        Raises:
            ChangedInPlace: a function changed what it was given.
            ValueError: the output, or the state, is of a kind that cannot work.
        """
        state_watch, output_watch = InPlaceWatch(), InPlaceWatch()
        state_watch.begin_call(list_tensors(state))
        if self._function is not None:
            next_state, output_changed = self._function(index, state), False
        else:
            output = self._evaluate(index, state)
            self._problem.pack_outputs(output, 1)  # says what is wrong with an output that cannot work
            self.outputs.append(output)
            output_watch.begin_call(list_tensors(output))
            next_state = self._process.advance(step, state, tree_map(_drop_axis, output))
            output_changed = output_watch.is_changed(list_tensors(output))
        if output_changed or state_watch.is_changed(list_tensors(state)):
            raise describe_change(step, state)
        self._is_quick = self._function is not None and not any(
            leaf.is_inference() for leaf in list_tensors(next_state)
        )
        self._problem.observe(next_state)  # says what is wrong with a state of another kind
        return next_state

    def take_next(self, step: int, index: Tensor, state: Tree) -> Tree:
        """Return the state after one more step, which must not have changed the one before it in place.

        Raises:
            ChangedInPlace: it has.
        """
        if self._is_quick and isinstance(state, Tensor):
            version = state._version
            next_state = self._function(index, state)  # type: ignore[misc]
            if state._version != version:
                raise describe_change(step, state)
            return next_state
        is_bare = isinstance(state, Tensor)
        versions = read_version(state) if is_bare else read_versions(tree_tensors(state))
        if self._function is not None:
            next_state = self._function(index, state)
        else:
            output = self._evaluate(index, state)
            self.outputs.append(output)
            next_state = self._process.advance(step, state, tree_map(_drop_axis, output))
        if versions != (read_version(state) if is_bare else read_versions(tree_tensors(state))):
            raise describe_change(step, state)
        return next_state

    def explain_error(self, error: BaseException, count: int) -> BaseException:
        """Return the error of a step after `count` finished ones, or what is wrong with its output, if that is why."""
        if len(self.outputs) <= count or not isinstance(error, Exception):
            return error
        try:
            self._problem.pack_outputs(self.outputs[-1], 1)
        except (TypeError, ValueError) as reason:
            reason.__cause__ = error
            return reason
        return error

    def pack_outputs(self, inputs: Tensor) -> Tensor:
        """Return the output rows `(W, *batch, E)` of finished steps, from the input rows of all their states."""
        if isinstance(self._process, StepProcess) and self._function is not None:
            if not self._problem.knows_outputs:
                self._problem.pack_output(self._problem.input_layout.unpack(inputs[-1]))  # states, or their differences
            return self._process.rows_of_outputs(inputs)
        outputs = self.outputs[: len(inputs) - 1]
        try:
            joined = join_trees(torch.cat, outputs)
        except (RuntimeError, TypeError, ValueError):  # outputs of several kinds: say which
            return torch.cat([self._problem.pack_outputs(output, 1) for output in outputs])
        return self._problem.pack_outputs(joined, len(outputs))

    def _evaluate(self, index: Tensor, state: Tree) -> Tree:
        inputs = tree_map(_add_axis, self._process.observe(state))
        return self._process.evaluate(index.unsqueeze(0), inputs)


@lru_cache(maxsize=8)
def list_step_tensors(device: torch.device, length: int) -> tuple[Tensor, ...]:
    """Return the steps of a path, each an int64 tensor without axes."""
    return torch.arange(length, device=device).unbind()


def describe_change(step: int, state: Tree) -> ChangedInPlace:
    """Return the error that says that a step changed its state, or its output, in place."""
    return ChangedInPlace(WORKS_IN_PLACE.format(step, describe_tree(state)))


def list_tensors(state: Tree) -> Sequence[Tensor]:
    """Return the tensors of a state."""
    return [state] if isinstance(state, Tensor) else tree_tensors(state)


def _add_axis(leaf: Tensor) -> Tensor:
    return leaf.unsqueeze(0)


def _drop_axis(leaf: Tensor) -> Tensor:
    return leaf[0]
