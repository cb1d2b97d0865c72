"""The plain loop over a process, as its user would write it: what every other way to run it is compared with."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from forerun.engine.numerics.tree import Tree, tree_map, tree_tensors
from forerun.engine.process import Process


def iterate_plain_loop(process: Process, state: Tree) -> Iterator[Tree]:
    """Yield the states `x_1 .. x_length`, each step evaluated at its exact input and then advanced.

    Args:
        process: the computation.
        state: its first state, `x_0`.
    """
    device = tree_tensors(process.observe(state))[0].device
    for step in range(process.length):
        inputs = tree_map(lambda leaf: leaf.unsqueeze(0), process.observe(state))
        outputs = process.evaluate(torch.tensor([step], device=device), inputs)
        state = process.advance(step, state, tree_map(lambda leaf: leaf[0], outputs))
        yield state


@torch.no_grad()
def run_plain_loop(process: Process, state: Tree) -> Tree:
    """Return the state after all steps of the plain loop, keeping none of those between."""
    for state in iterate_plain_loop(process, state):  # noqa: B020 (each state follows from the one before)
        pass
    return state
