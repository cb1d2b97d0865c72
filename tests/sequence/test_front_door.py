"""The options of `solve` at every front door of sequences, and answers that are solutions."""

import pytest
import torch
from torch import nn

from forerun import Distributed, Newton, Picard, Sliding, Solution, SolveOptions, Status
from forerun.sequence import RNN, Made, feedforward, odeint, sample, scan

LAYERS = [nn.Linear(3 + k, 1) for k in range(6)]
GRID = torch.linspace(0, 1, 31)


def scan_cell(**options):
    torch.manual_seed(0)
    return scan(nn.GRUCell(2, 3), torch.zeros(1, 3), torch.randn(40, 1, 2), **options)


def solve_equation(**options):
    return odeint(lambda t, y: -y, torch.ones(2, 1), GRID, **options)


def run_layers(**options):
    return feedforward(LAYERS, torch.ones(2, 3), growth=1, **options)


def draw_images(**options):
    torch.manual_seed(0)
    return sample(Made(pixels=9, width=20), torch.full((2, 9), 0.5), **options)


DOORS = pytest.mark.parametrize(
    "door, name",
    [
        (scan_cell, "hidden"),
        (solve_equation, "hidden"),
        (run_layers, "features"),
        (draw_images, "images"),
    ],
    ids=["scan", "odeint", "feedforward", "sample"],
)


@DOORS
def test_an_answer_is_a_solution_whose_value_is_what_was_asked_for(door, name):
    answer = door(method=Picard())
    assert isinstance(answer, Solution)
    assert answer.value is getattr(answer, name)
    assert answer.status.done


@DOORS
def test_options_come_one_by_one_or_as_one_object(door, name):
    short = door(method=Picard(), window=4)
    whole = door(options=SolveOptions(method=Picard(), window=Sliding(4)))
    assert torch.equal(short.value, whole.value)
    assert max(entry.width for entry in short.log) == 4
    assert short.rounds == whole.rounds


@DOORS
def test_a_misspelt_option_is_refused_with_advice(door, name):
    with pytest.raises(TypeError, match="did you mean window"):
        door(windw=4)


def test_a_misspelt_option_of_a_module_is_refused():
    with pytest.raises(TypeError, match="did you mean method"):
        RNN(nn.GRU(2, 3), methd=Newton())


def test_the_plain_loop_answers_as_the_sequential_run_does():
    answer = scan_cell()
    assert answer.status is Status.SEQUENTIAL
    assert answer.rounds == answer.evaluations == answer.step == answer.length == 40
    assert answer.deviation_estimate == 0
    assert torch.equal(answer.state, answer.hidden[-1])
    assert "The plain loop was taken" in str(answer)


def test_a_run_that_a_callback_stops_has_the_states_so_far():
    whole = scan_cell(method=Picard(), window=8)
    part = scan_cell(method=Picard(), window=8, callback=lambda event: event.step >= 12)
    assert part.status is Status.STOPPED
    assert 12 <= len(part.hidden) == part.step < 40
    torch.testing.assert_close(part.hidden, whole.hidden[: part.step])


def test_ranks_do_not_choose_for_themselves():
    with pytest.raises(ValueError, match=r"method=forerun.Newton\(\)"):
        scan_cell(backend=Distributed())
