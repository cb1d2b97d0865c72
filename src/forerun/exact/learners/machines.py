"""MooreMachine: a coalgebra, a state that shows something and moves by what comes in, as learners and processes do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.process import Process
from forerun.exact.learners.lenses import SimpleLens
from forerun.exact.learners.typed_learner import TypedLearner


@final
@dataclass(frozen=True)
class MooreMachine:
    """A dynamical system: what a state shows, and where it goes with what comes in.

    It is a coalgebra `S -> p(S)` of the polynomial whose positions are what can be shown, and whose directions are what
    can come in (Spivak, arXiv 2103.01189).

    Attributes:
        readout: takes a state to what it shows.
        move: takes a state and an input to the next state.
        first: a first state.
    """

    readout: Callable[[Any], Any]
    move: Callable[[Any, Any], Any]
    first: Any

    def run(self, inputs: Iterable[Any]) -> list[Any]:
        """Return the states along inputs, the first one included."""
        states = [self.first]
        for value in inputs:
            states.append(self.move(states[-1], value))
        return states

    def run_closed(self, environment: Callable[[Any], Any], steps: int) -> list[Any]:
        """Return the states of the machine whose inputs are what an environment makes of its readouts."""
        states = [self.first]
        for _ in range(steps):
            states.append(self.move(states[-1], environment(self.readout(states[-1]))))
        return states


def machine_of_learner(learner: TypedLearner) -> MooreMachine:
    """Return a learner as a machine on `[A y^A, B y^B]`: its state shows a lens from A to B, and moves by examples.

    Inputs are pairs `(a, b)`.
    """

    def readout(p: Any) -> SimpleLens:
        return SimpleLens(
            learner.source,
            learner.target,
            lambda a: learner.implement(p, a),
            lambda a, b: learner.request(p, a, b),
        )

    return MooreMachine(readout, lambda p, example: learner.update(p, *example), learner.parameters)


def machine_of_process(process: Process, x0: Tree) -> MooreMachine:
    """Return a `Process` as a machine: it shows its step and what `observe` gives, and moves by outputs with `advance`.

    `evaluate` is the environment that closes it: `machine.run_closed(environment_of(process), process.length)` is the
    loop in order.
    """

    def readout(state: tuple[int, Tree]) -> tuple[int, Tree]:
        return state[0], process.observe(state[1])

    def move(state: tuple[int, Tree], output: Tree) -> tuple[int, Tree]:
        return state[0] + 1, process.advance(state[0], state[1], output)

    return MooreMachine(readout, move, (0, x0))


def environment_of(process: Process) -> Callable[[tuple[int, Tree]], Tree]:
    """Return `evaluate` of a process for one step alone, as the environment of its machine."""

    def answer(shown: tuple[int, Tree]) -> Tree:
        step, value = shown
        outputs = process.evaluate(torch.tensor([step]), tree_map(lambda leaf: leaf.unsqueeze(0), value))
        return tree_map(lambda leaf: leaf.squeeze(0), outputs)

    return answer


def process_of_learner(learner: TypedLearner, inputs: Tensor, targets: Tensor) -> Process:
    """Return the training of a learner of tensors as a process, so that `forerun.solve` can run it ahead of itself.

    Its state is the tuple of parameters, from `learner.parameters` on; a step is an update with one example.

    Args:
        learner: of tensors.
        inputs: `(T, *a)`, an example a step.
        targets: `(T, *b)`.

    Raises:
        ValueError: there are not as many targets as inputs.
    """
    if len(inputs) != len(targets):
        raise ValueError(f"got {len(inputs)} inputs and {len(targets)} targets; pass one of each for a step")

    def step(index: Tensor, parameters: Tree) -> Tree:
        return learner.update(tuple(parameters), inputs[index], targets[index])

    return Process.from_step(step, len(inputs), increment=True)
