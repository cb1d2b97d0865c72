"""Every limit method and every map of the package keeps its contract, and the checks notice what does not."""

import dataclasses

import house
import pytest
import torch
from house import MODULES
from limits.maps import DOUBLE, MAPS, normal, template

from forerun import Map
from forerun.engine.limit_methods import LimitPoint, NextPoint
from forerun.engine.testing import ContractBroken, check_limit_method, check_map
from forerun.limits import (
    AndersonMixing,
    AndersonTypeOne,
    AutoMixing,
    Averaged,
    BatchMap,
    Broyden,
    ContractiveHalpern,
    Cycled,
    FilteredAnderson,
    Halpern,
    LimitMethod,
    NewtonKrylov,
    Periodic,
    Plain,
)

LIMIT_METHODS = {
    "Plain": Plain(),
    "Averaged": Averaged(0.6),
    "Halpern": Halpern(),
    "AndersonMixing": AndersonMixing(3),
    "AndersonTypeOne": AndersonTypeOne(3),
    "AutoMixing": AutoMixing(3),
    "FilteredAnderson": FilteredAnderson(3),
    "Broyden": Broyden(),
    "ContractiveHalpern": ContractiveHalpern(0.9),
    "Cycled": Cycled(),
    "NewtonKrylov": NewtonKrylov(),
    "Periodic": Periodic(),
}


def test_every_method_is_checked():
    assert LIMIT_METHODS.keys() == house.subclasses("LimitMethod", MODULES).keys()


@pytest.mark.parametrize("name", LIMIT_METHODS)
def test_the_contract_of_methods_is_kept(name):
    check_limit_method(LIMIT_METHODS[name])


@pytest.mark.parametrize("name", MAPS)
def test_the_maps_of_the_tests_are_maps(name):
    known = MAPS[name](DOUBLE)
    check_map(known.map, known.x0)


def test_a_merit_that_falls_is_one():
    known = template()
    check_map(known.map, known.x0)


def test_a_method_that_remembers_for_itself_is_noticed():
    @dataclasses.dataclass(frozen=True)
    class Forgetful(LimitMethod):
        seen: list = dataclasses.field(default_factory=list)

        def advance(self, point: LimitPoint) -> NextPoint:
            self.seen.append(1)
            return NextPoint(point.points + point.residuals * (0.9 + 0.1 / len(self.seen)))

    with pytest.raises(ContractBroken, match="keep everything in the memory"):
        check_limit_method(Forgetful())


def test_a_method_that_mixes_problems_is_noticed():
    class Shared(LimitMethod):
        def advance(self, point: LimitPoint) -> NextPoint:
            return NextPoint(point.values + point.residuals.mean(0))

    with pytest.raises((ContractBroken, RuntimeError)):
        check_limit_method(Shared())


class WrongSelection(BatchMap):
    """Says that it can be selected from, and forgets its data."""

    def __init__(self, rates):
        self.rates = rates

    def evaluate(self, x):
        return self.rates[: len(x), None] * x + 1

    def select(self, problems):
        return self


@pytest.mark.parametrize(
    "user_map, says",
    [
        (Map.from_function(lambda x: x * torch.rand(())), "another value"),
        (Map.from_function(lambda x: x - x.mean(), batch_dims=1), "followed the state"),
        (WrongSelection(torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE)), "select"),
        (Map.from_function(lambda x: x, projection=lambda x: x * 0.5), "projecting a projected"),
        (Map.from_function(lambda x: 2 * x, merit=lambda x: x.square().sum()), "merit rose"),
        (Map.from_function(torch.sin, linearisation=lambda x: lambda v: v), "linearise gave"),
    ],
)
def test_maps_that_keep_no_contract_are_noticed(user_map, says):
    with pytest.raises(ContractBroken, match=says):
        check_map(user_map, normal(3, 2))


def test_a_derivative_that_is_right_passes():
    check_map(Map.from_function(torch.sin, linearisation=lambda x: lambda v: x.cos() * v), normal(3))
