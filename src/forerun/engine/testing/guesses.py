"""check_guess: whether a guess keeps its contract."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.backends import Local
from forerun.engine.backends.counted_evaluate import CountedEvaluate
from forerun.engine.guesses import Guess, KnownPrefix
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.process import Process
from forerun.engine.rows import Problem
from forerun.engine.testing.agreement import (
    Problems,
    is_close,
    is_same,
    require,
    require_sequential_answer,
    small_problems,
)


@torch.no_grad()
def check_guess(guess: Guess, *, problems: Problems | None = None) -> None:
    """Check that a guess keeps its contract: slots that begin at the exact state, and the sequential answer.

    Args:
        guess: the guess.
        problems: processes and their first states to try it on; None for some small ones in double precision.

    Raises:
        ContractBroken: it does not.
    """
    for process, state in small_problems() if problems is None else problems:
        _check_entry(guess, process, state)
        require_sequential_answer(process, state, guess=guess)


def _check_entry(guess: Guess, process: Process, state: Tree) -> None:
    """Have the first window filled, and later ones too, as the sequential run goes on."""
    problem = Problem(process, state)
    outputs: Tensor | None = None
    for step in range(min(3, process.length)):
        prefix = KnownPrefix(problem, step, state, outputs)
        _check_slots(guess, prefix, min(step + 4, process.length))
        row = problem.evaluate(problem.step_range(step, step + 1), problem.observe(state).unsqueeze(0))
        if outputs is None:
            outputs = row
        else:
            outputs = torch.cat([outputs, row])
        state = problem.advance(step, state, row[0])


def _check_slots(guess: Guess, prefix: KnownPrefix, stop: int) -> None:
    """Check the slots that a guess fills after a prefix."""
    before = tree_map(torch.clone, prefix.state)
    states, rows = guess.enter(prefix, stop, CountedEvaluate(prefix.problem, Local()))
    occasion = f"for the steps {prefix.start} .. {stop - 1} "
    require(
        is_same(before, prefix.state),
        occasion + "enter modified the state; return new tensors",
    )
    require(
        len(states) == len(rows) and 1 <= len(rows) <= stop - prefix.start,
        f"{occasion}enter gave {len(states)} states and {len(rows)} rows; give one of each a step, or those of the "
        "first step alone",
    )
    require(
        is_same(tree_map(torch.clone, states[0]), before),
        occasion + "the first state is another than that of the prefix; begin with it",
    )
    require(
        is_close(rows[0], prefix.problem.observe(prefix.state), 0.0),
        occasion + "the first row is not what is observed of the first state; begin with problem.observe(state)",
    )
