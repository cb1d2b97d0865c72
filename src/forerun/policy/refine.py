"""A few steps of a scheduler from a chunk that is nearly right, in order: what real-time iteration makes of a tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from forerun.engine.methods import Sequential
from forerun.engine.numerics.tree import Tree
from forerun.engine.process import Process
from forerun.engine.solution import Status
from forerun.engine.solve import solve
from forerun.policy.noise import chosen
from forerun.policy.tick import Answer, Tick


@final
class Part(Process):
    """Some steps of a process, as if they followed one another.

    Args:
        process: the whole.
        steps: which, in order.
    """

    def __init__(self, process: Process, steps: Sequence[int]) -> None:
        self.length = len(steps)
        self.batch_dims = process.batch_dims
        self._process = process
        self._steps = list(steps)

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        return self._process.evaluate(torch.tensor(self._steps, device=steps.device)[steps], inputs)

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        return self._process.advance(self._steps[step], state, output)


def refine(tick: Tick, guess: Tensor, steps: int | Sequence[int]) -> Answer:
    """The answer from a guess `(B, H, A)` by some timesteps; from noise, by all steps, in environments that are cold.

    Raises:
        ValueError: the scheduler does not visit one of the timesteps, or keeps a history.
    """
    chosen_steps = visited(tick, steps)
    whole = None if all(tick.warm) else tick.solve()
    while True:
        process, _ = tick.process()
        solution = solve(Part(process, chosen_steps), guess, method=Sequential(), check=False, throw=False)
        if solution.status is not Status.NONFINITE or not tick.silence(Part(process, chosen_steps), solution):
            break
    sample, outputs = solution.state, tick.known
    if whole is not None:
        sample = chosen(tick.warm, sample.unsqueeze(0), whole.sample.unsqueeze(0))[0]
        outputs, solution = whole.outputs, whole.solution
    return Answer(sample, outputs, solution, (False,) * len(tick.warm), tick.bad, None)


def visited(tick: Tick, steps: int | Sequence[int]) -> list[int]:
    """The numbers of the steps at these timesteps."""
    timesteps = tick.plan.timesteps.tolist()
    wanted = timesteps[-steps:] if isinstance(steps, int) else list(steps)
    missing = [t for t in wanted if t not in timesteps]
    if missing or not wanted or tick.plan.maps is None:
        raise ValueError(
            f"RTI(steps={steps}) asks for timesteps {missing or wanted} of a scheduler that "
            + ("keeps a history" if tick.plan.maps is None else f"visits {timesteps[:2]} .. {timesteps[-3:]}")
            + "; use DDPMScheduler with as many steps as it was trained with, and RTI(steps=(2, 1, 0))"
        )
    return [timesteps.index(t) for t in wanted]
