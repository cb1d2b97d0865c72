"""The shipped checks pass what is right and name what is wrong."""

from dataclasses import dataclass, replace

import pytest
import torch
from engine.problems import PROBLEMS

from forerun import Affine, Newton, Picard, Process, Secant
from forerun.engine.methods import Jacobi, SlopeMethod
from forerun.engine.testing import ContractBroken, check_method, check_process


@pytest.mark.parametrize("problem", PROBLEMS)
def test_right_processes_pass(problem):
    check_process(*PROBLEMS[problem](), steps=6)


@pytest.mark.parametrize("method", [Picard(), Secant(), Jacobi(), Newton()], ids=lambda method: type(method).__name__)
def test_right_methods_pass(method):
    check_method(method)


class Wrong(Process):
    length = 8

    def evaluate(self, steps, inputs):
        return torch.sin(inputs)

    def advance(self, step, state, output):
        return state + output


class InPlace(Wrong):
    def advance(self, step, state, output):
        return state.add_(output)


class Noisy(Wrong):
    def evaluate(self, steps, inputs):
        return torch.sin(inputs) + torch.randn_like(inputs)


class Mixing(Wrong):
    def evaluate(self, steps, inputs):
        return torch.sin(inputs) + inputs.sum(0)


class Fickle(Wrong):
    def advance(self, step, state, output):
        return state + torch.randn_like(output)


class Crooked(Wrong):
    def affine(self, steps):
        return Affine(state=torch.ones(len(steps)), output=2 * torch.ones(len(steps)))


@pytest.mark.parametrize(
    "process, says",
    [
        (InPlace(), "modified"),
        (Noisy(), "two answers"),
        (Mixing(), "unlike its steps one by one"),
        (Fickle(), "two states"),
        (Crooked(), "affine and advance disagree"),
    ],
)
def test_what_breaks_the_contract_is_named(process, says):
    with pytest.raises(ContractBroken, match=says):
        check_process(process, torch.ones(3))


@dataclass(frozen=True)
class Dishonest(SlopeMethod):
    """Says that nothing moves."""

    def slopes(self, front, evaluate):
        return Picard().slopes(front, evaluate)


def test_a_dishonest_method_is_named(monkeypatch):
    honest = SlopeMethod.iterate

    def dishonest(self, front, evaluate):
        iterate = honest(self, front, evaluate)
        return replace(iterate, moves=torch.zeros_like(iterate.moves))

    monkeypatch.setattr(Dishonest, "iterate", dishonest)
    with pytest.raises(ContractBroken, match="moves must tell"):
        check_method(Dishonest())
