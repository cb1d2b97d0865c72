"""The slots of a window: how the first window is filled, and how a window slides over the steps it has accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.guesses import Guess, KnownPrefix
from forerun.engine.methods import Evaluate, WindowState, WindowUpdate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import JoinedStates, Problem


@dataclass(frozen=True)
class SlotFiller:
    """Fills the slots of the windows of one run.

    Attributes:
        problem: the process, in rows.
        guess: what stands in a slot before its first evaluation.
        evaluate: for guesses that evaluate.
    """

    problem: Problem
    guess: Guess
    evaluate: Evaluate

    def end_of_path(self, state: Tree) -> WindowState:
        """Return the window at the end of the path, which holds no step."""
        return WindowState(self.problem, self.problem.length, [state], self.problem.observe(state).unsqueeze(0))

    def fill_from_inputs(self, start: int, state: Tree, inputs: Tensor) -> WindowState:
        """Return a window whose inputs are known already, such as those of an interrupted run."""
        return WindowState(self.problem, start, [state] * len(inputs), inputs)

    def fill_first(self, start: int, state: Tree, stop: int) -> WindowState:
        """Return the first window `[start, stop)` from an exact state; it may end earlier where nothing is known."""
        prefix = KnownPrefix(self.problem, start, state, None)
        states, inputs = self.guess.enter(prefix, stop, self.evaluate)
        return WindowState(self.problem, start, states, inputs)

    def slide(
        self, window: WindowState, update: WindowUpdate, *, accepted: int, finite_inputs: int, stop: int
    ) -> WindowState:
        """Return the next window: the steps that go on in flight, and those that enter it.

        Args:
            window: the window of this round.
            update: what the method made of it.
            accepted: steps accepted in it.
            finite_inputs: leading inputs of the update that are finite; the next window goes on from these alone.
            stop: where the next window shall end.
        """
        start = window.start + accepted
        stop = max(stop, start + 1)
        states: Sequence[Tree] = update.states[accepted - 1 : finite_inputs - 1]
        inputs = _inputs_to_evaluate(update, accepted, finite_inputs)
        count = inputs.shape[0]
        if stop - start <= count:
            states, inputs = states[: stop - start], inputs[: stop - start]
        else:
            prefix = KnownPrefix(
                self.problem,
                start + count - 1,
                self._state_to_continue(update, states[-1], inputs),
                update.outputs[: finite_inputs - 1],
            )
            entering_states, entering_inputs = self.guess.enter(prefix, stop, self.evaluate)
            states = JoinedStates(states[:-1], entering_states)
            inputs = self.problem.memory.concatenate(inputs[:-1], entering_inputs)
        return WindowState(
            self.problem,
            start,
            states,
            inputs,
            update.evaluations,
            update.memory,
        )

    def _state_to_continue(self, update: WindowUpdate, last_state: Tree, inputs: Tensor) -> Tree:
        """Return the state that new slots go on from: the input that will be evaluated, where it is a state."""
        if update.guesses is None or inputs.shape[0] < 2:
            return last_state
        if self.problem.process.observe(last_state) is not last_state:
            return last_state
        return self.problem.input_layout.unpack(inputs[-1])


def _inputs_to_evaluate(update: WindowUpdate, accepted: int, finite_inputs: int) -> Tensor:
    """Return the inputs that the steps still in flight are evaluated at next; the first is exact."""
    inputs = update.inputs[accepted:finite_inputs]
    if update.guesses is None:
        return inputs
    return torch.cat([inputs[:1], update.guesses[accepted + 1 : finite_inputs]])
