"""Jacobi: every step from the old state of its own slot."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from forerun.engine.methods.base import Evaluate, Evaluated, Front, Iterate, Method


@dataclass(frozen=True)
class Jacobi(Method):
    """`x_{i+1} = advance(i, x_i', o_i)` with `x_i'` the state of the round before.

    Information moves one step a round. Song et al., arXiv 2002.03629, Algorithm 1.
    """

    def iterate(self, front: Front, evaluate: Evaluate) -> Iterate:
        problem = front.problem
        outputs = evaluate(front.steps, front.inputs)
        states = [
            problem.advance(step, state, output)
            for step, state, output in zip(range(front.start, front.stop), front.states, outputs.unbind(), strict=True)
        ]
        inputs = torch.stack([front.inputs[0], *map(problem.observe, states)])
        return Iterate(
            states=states,
            inputs=inputs,
            outputs=outputs,
            moves=inputs[:-1] - front.inputs,
            evaluated=Evaluated(front.start, front.inputs, outputs),
        )
