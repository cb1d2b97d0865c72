"""A few steps of a scheduler from a chunk that is nearly right, in order: what real-time iteration makes of a tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from forerun.engine.methods import Sequential
from forerun.engine.numerics.tree import Tree
from forerun.engine.parts import repeat_until_finite
from forerun.engine.process import Process
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.policy.noise import select_environments
from forerun.policy.tick import Tick, TickAnswer


@final
class SelectedSteps(Process):
    """Some steps of a process, as if they followed one another.

    Args:
        process: the process with all steps.
        steps: which, in order.
    """

    def __init__(self, process: Process, steps: Sequence[int]) -> None:
        self.length = len(steps)
        self.batch_dims = process.batch_dims
        self.counts_whole_state = process.counts_whole_state
        self._process = process
        self._steps = list(steps)

    def evaluate(self, steps: Tensor, inputs: Tree) -> Tree:
        process_steps = torch.tensor(self._steps, device=steps.device)[steps]
        return self._process.evaluate(process_steps, inputs)

    def advance(self, step: int, state: Tree, output: Tree) -> Tree:
        return self._process.advance(self._steps[step], state, output)


def refine_chunk(tick: Tick, guess: Tensor, steps: int | Sequence[int]) -> TickAnswer:
    """Return the answer from a guess `(B, H, A)` by some timesteps; by all, from noise, in environments that are cold.

    Raises:
        ValueError: the scheduler does not visit one of the timesteps, or keeps a history.
    """
    step_numbers = find_steps(tick, steps)
    full_answer = None if all(tick.warm) else tick.solve()
    process: SelectedSteps

    def solve_once() -> Solution:
        nonlocal process
        process = SelectedSteps(tick.begin_process()[0], step_numbers)
        return solve(process, guess, method=Sequential(), check=False, throw=False)

    solution = repeat_until_finite(solve_once, lambda solution: tick.leave_out_nonfinite(process, solution))
    sample, outputs = solution.state, tick.guessed_outputs
    if full_answer is not None:
        refined, full = sample.unsqueeze(0), full_answer.sample.unsqueeze(0)
        sample = select_environments(tick.warm, refined, full)[0]
        outputs, solution = full_answer.outputs, full_answer.solution
    return TickAnswer(
        sample,
        outputs,
        solution,
        (False,) * len(tick.warm),
        tick.bad,
        None,
    )


def find_steps(tick: Tick, steps: int | Sequence[int]) -> list[int]:
    """Return the numbers of the steps at these timesteps; a number stands for so many at the end.

    Raises:
        ValueError: the scheduler does not visit one of them, or keeps a history.
    """
    timesteps = tick.plan.timesteps.tolist()
    selected = timesteps[-steps:] if isinstance(steps, int) else list(steps)
    missing = [timestep for timestep in selected if timestep not in timesteps]
    keeps_history = tick.plan.factors is None
    if missing or not selected or keeps_history:
        reason = "keeps a history" if keeps_history else f"visits {timesteps[:2]} .. {timesteps[-3:]}"
        raise ValueError(
            f"RTI(steps={steps}) asks for timesteps {missing or selected} of a scheduler that {reason}; "
            "use DDPMScheduler with as many steps as it was trained with, and RTI(steps=(2, 1, 0))"
        )
    return [timesteps.index(timestep) for timestep in selected]
