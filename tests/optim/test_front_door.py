"""The options of a solve mean for a loop what they mean everywhere; its solution answers in the user's parameters."""

import pytest
import torch
from optim.loops import Net, loss, same
from torch import nn, optim

from forerun import Picard, Secant, Sliding, Status
from forerun.engine.options import SolveOptions
from forerun.optim import Loop, OneByOne, StepLength


def build(**options):
    model = Net()
    return model, Loop(model, optim.Adam(model.parameters(), 0.02), loss, gradients=OneByOne(), **options)


def test_short_forms_stand_for_objects():
    _, loop = build(window=8, tolerance=0.1)
    assert loop.settings.window == Sliding(8)
    assert loop.settings.tolerance == StepLength(0.1)


def test_options_come_as_one_object_and_keywords_win():
    _, loop = build(options=SolveOptions(method=Secant(), window=8), window=4)
    assert loop.settings.method == Secant()
    assert loop.settings.window == Sliding(4)


def test_what_is_not_set_is_the_choice_of_a_loop():
    _, loop = build()
    assert loop.settings.method == Picard()
    assert loop.settings.tolerance == StepLength(0.03)
    assert loop.settings.check is None


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="did you mean window"):
        build(windw=8)


def test_the_callback_of_the_options_is_called_after_every_round_and_may_stop():
    events = []

    def stop_after_three(event):
        events.append(event.round)
        return len(events) == 3

    _, loop = build(window=4, callback=stop_after_three)
    solution = loop.run(20).solution()
    assert solution.status is Status.STOPPED
    assert len(events) == len(solution.log) == 3


def test_the_value_of_a_solution_is_shaped_like_the_parameters():
    model, loop = build(window=4)
    value = loop.run(6).solution().value
    assert same(value, dict(model.named_parameters()))
    bare = nn.Parameter(torch.ones(2))
    value = Loop(bare, optim.SGD([bare], 0.1), lambda x, step: x.sum()).run(1).solution().value
    assert torch.equal(value, bare)
    assert value is not bare
