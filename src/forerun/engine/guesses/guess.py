"""Guess: what stands in a slot before its step was ever evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun.engine.methods import Evaluate
from forerun.engine.numerics.tree import Tree
from forerun.engine.rows import JoinedStates, Problem, sweep_window


@dataclass(frozen=True)
class KnownPrefix:
    """Where the known part of the window ends, and what is known there.

    Attributes:
        problem: the process, in rows.
        start: the first step to fill.
        state: of that step.
        outputs: `(K, *batch, E)`, the newest outputs of the steps before it; None before the first round.
    """

    problem: Problem
    start: int
    state: Tree
    outputs: Tensor | None


class Guess(ABC):
    """How the slots that enter the window are filled."""

    @abstractmethod
    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        """States and input rows of the steps `edge.start .. stop-1`; of the first alone where nothing is known yet.

        `evaluate` may be called; each call is a round.
        """


@dataclass(frozen=True)
class Hold(Guess):
    """Sweep on with the last output held: exact where the output no longer changes along the path.

    Args:
        output: of the step before the first, where it is known; else the first window holds one step.
    """

    output: Tree = None

    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        if edge.outputs is None and self.output is None:
            return _first(edge)
        if edge.outputs is None:
            row = edge.problem.pack_output(self.output)
            return sweep_on(edge, row.expand(stop - edge.start - 1, *row.shape[1:]))
        return sweep_on(edge, edge.outputs[-1:].expand(stop - edge.start - 1, *edge.outputs.shape[1:]))


@dataclass(frozen=True)
class Probe(Guess):
    """Before the first window, ask `count` steps spread over it for their outputs at the first state, in one round.

    The outputs of the steps between are interpolated, and the path swept with them. Pays where the output depends on
    the step more than on the input, as in samplers without noise.

    Args:
        count: of the steps to ask.
        hold: fills the slots that enter later, and a first window that is not twice as wide as what would be asked.
    """

    count: int = 8
    hold: Hold = Hold()

    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        width, problem = stop - edge.start, edge.problem
        count = self.count
        if edge.outputs is not None or count < 2 or width < 2 * count:
            return self.hold.enter(edge, stop, evaluate)
        seen = problem.observe(edge.state)
        places = torch.linspace(0, width - 1, count, dtype=torch.float64, device=seen.device).round()
        outputs = evaluate(places.long() + edge.start, seen.expand(count, *seen.shape))
        between = torch.arange(width - 1, device=seen.device, dtype=torch.float64)
        after = torch.searchsorted(places, between, right=True)
        share = (between - places[after - 1]) / (places[after] - places[after - 1])
        share = share.to(outputs).reshape(-1, *[1] * (outputs.dim() - 1))
        return sweep_on(edge, torch.lerp(outputs[after - 1], outputs[after], share))


@dataclass(frozen=True)
class Extrapolate(Guess):
    """Sweep on with the output continued along its trend over the last `span` steps, damped by `decay` a step."""

    span: int = 4
    decay: float = 0.8

    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        outputs = edge.outputs
        if outputs is None or len(outputs) < 2:
            return Hold().enter(edge, stop, evaluate)
        back = min(self.span, len(outputs) - 1)
        trend = (outputs[-1] - outputs[-1 - back]) / back
        reach = trend.new_full((stop - edge.start - 1,), self.decay).cumprod(0).cumsum(0)
        return sweep_on(edge, outputs[-1] + reach.reshape(-1, *[1] * trend.dim()) * trend)


@dataclass(frozen=True)
class Copy(Guess):
    """Copy the last state into the new slots (ParaDiGMS, arXiv 2305.16317, Algorithm 1)."""

    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        seen = edge.problem.observe(edge.state)
        copies = torch.stack([seen] * (stop - edge.start))  # not expanded, which evaluate could not differentiate
        return [edge.state] * len(copies), copies


@dataclass(frozen=True)
class Known(Guess):
    """Inputs known beforehand for the whole path, such as those of an earlier run: a warm start.

    Args:
        inputs: tree like the input with a leading axis of `length`.
    """

    inputs: Tree

    def enter(self, edge: KnownPrefix, stop: int, evaluate: Evaluate) -> tuple[Sequence[Tree], Tensor]:
        known = edge.problem.input_layout.pack(self.inputs, edge.problem.length)[edge.start + 1 : stop]
        first = edge.problem.observe(edge.state).unsqueeze(0)
        return [edge.state] * (stop - edge.start), torch.cat([first, known])


def _first(edge: KnownPrefix) -> tuple[Sequence[Tree], Tensor]:
    return [edge.state], edge.problem.observe(edge.state).unsqueeze(0)


def sweep_on(edge: KnownPrefix, outputs: Tensor) -> tuple[Sequence[Tree], Tensor]:
    """States and input rows from the edge on, by the guessed outputs `(K, *batch, E)` of its steps."""
    if not len(outputs):
        return _first(edge)
    problem = edge.problem
    nowhere = outputs.new_zeros(()).expand(len(outputs), *problem.input_layout.batch, problem.input_layout.width)
    path = sweep_window(problem, edge.start, edge.state, outputs=outputs, evaluated_inputs=nowhere)
    return JoinedStates([edge.state], path.states), path.inputs
