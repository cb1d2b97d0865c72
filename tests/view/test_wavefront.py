import subprocess
import sys

import pytest
import torch
from view.drawing import pixels, share

import forerun
from forerun.diffusion import Denoising, Schedule
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.solution import RunTiming, Solution, Status
from forerun.view import draw_wavefront
from forerun.view.canvas import ACCEPTED_COLOUR, INK_COLOUR
from forerun.view.slot_grid import ACCEPTED, MAX_CELLS, OUTSIDE, WAITING, SlotGrid
from forerun.worlds.digits import ExactDenoiser

matplotlib = pytest.importorskip("matplotlib")


def entry(start, accepted, residuals, *, rounds=1, threshold=1.0):
    evaluations = len(residuals) * rounds
    return Round(
        start, start + len(residuals), accepted, tuple(residuals), threshold, rounds, evaluations, RoundTiming()
    )


def solution(log, length, *, rounds_before=0, step=None):
    step = max(item.start + item.accepted for item in log) if step is None and log else step or 0
    rounds = rounds_before + sum(item.rounds for item in log)
    checkpoint = forerun.Checkpoint(step, length, torch.zeros(3), rounds=rounds, evaluations=4 * rounds)
    return Solution(torch.zeros(3), length, Status.CHECKED, log, torch.tensor([2e-4]), checkpoint, RunTiming())


def lines(figure):
    """The lines in the first axes, as (steps, rounds)."""
    return [tuple(map(list, line.get_data())) for line in figure.axes[0].lines]


WINDOWS = [entry(0, 2, [0, 0.5, 3, 9]), entry(2, 1, [0, 2, 4, 8]), entry(3, 3, [0, 0.1, 0.2])]


def test_the_grid_tells_what_every_slot_was():
    grid = SlotGrid.from_solution(solution(WINDOWS, 6))
    assert grid.kind.tolist() == [
        [ACCEPTED, ACCEPTED, WAITING, WAITING, OUTSIDE, OUTSIDE],
        [OUTSIDE, OUTSIDE, ACCEPTED, WAITING, WAITING, WAITING],
        [OUTSIDE, OUTSIDE, OUTSIDE, ACCEPTED, ACCEPTED, ACCEPTED],
    ]
    assert grid.size[0, :4].tolist() == [0, 0.5, 3, 9]
    assert grid.extent == (0, 6, 3.5, 0.5)


def test_residuals_are_in_units_of_their_own_limit():
    grid = SlotGrid.from_solution(solution([entry(0, 1, [0, 4, float("nan")], threshold=2.0)], 3))
    assert grid.size[0].tolist() == [0, 2, float("inf")]
    zero = SlotGrid.from_solution(solution([entry(0, 2, [0, 0, 1], threshold=0.0)], 3))
    assert zero.size[0].tolist() == [0, 0, float("inf")]


def test_the_frontier_follows_what_is_accepted():
    (frontier,) = lines(draw_wavefront(solution(WINDOWS, 6)))[:1]
    assert frontier == ([0, 2, 2, 3, 3, 6, 6], [0.5, 0.5, 1.5, 1.5, 2.5, 2.5, 3.5])


def test_going_back_breaks_the_frontier_and_says_so():
    log = [entry(0, 4, [0] * 4), entry(4, 4, [0] * 4), entry(3, 2, [0] * 5), entry(5, 3, [0] * 3)]
    figure = draw_wavefront(solution(log, 8))
    first, second, back = lines(figure)[:3]
    assert first == ([0, 4, 4, 8, 8], [0.5, 0.5, 1.5, 1.5, 2.5])
    assert second == ([3, 5, 5, 8, 8], [2.5, 2.5, 3.5, 3.5, 4.5])
    assert back == ([3, 8], [2.5, 2.5])
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "sent back by the check" in words
    assert "sent back by the check" not in [
        text.get_text() for text in draw_wavefront(solution(WINDOWS, 6)).axes[0].get_legend().get_texts()
    ]


def test_a_resumed_run_goes_on_counting():
    figure = draw_wavefront(solution([entry(40, 3, [0] * 10), entry(43, 57, [0] * 57)], 100, rounds_before=7))
    assert lines(figure)[0] == ([40, 43, 43, 100, 100], [7.5, 7.5, 8.5, 8.5, 9.5])
    assert figure.axes[0].get_ylim() == (9.5, 7.5)


def test_an_iteration_of_several_rounds_is_as_high():
    grid = SlotGrid.from_solution(solution([entry(0, 2, [0, 0.5, 3], rounds=3), entry(2, 1, [0])], 3))
    assert len(grid.kind) == 4
    assert torch.equal(grid.kind[0], grid.kind[2])


def test_a_sequential_stretch_is_a_staircase():
    stretch = Round(0, 5, 5, (0.0,) * 5, 1.0, 5, 5, RoundTiming(), in_order=True)
    grid = SlotGrid.from_solution(solution([stretch], 5))
    assert grid.kind.tolist() == (ACCEPTED * torch.eye(5, dtype=torch.uint8)).tolist()


def test_it_says_rounds_steps_evaluations_and_deviation():
    axes = draw_wavefront(solution(WINDOWS, 6)).axes[0]
    words = " ".join([axes.get_title(loc="left"), *(text.get_text() for text in axes.texts)])
    for figure in ("6 steps", "3 rounds", "12 evaluations", "2.0e-04"):
        assert figure in words


@pytest.mark.parametrize("length", [0, 1])
def test_the_shortest_paths_can_be_drawn(length):
    log = [entry(0, 1, [0.0])] if length else []
    assert pixels(draw_wavefront(solution(log, length))).shape[2] == 3


def test_thousands_of_rounds_and_steps_are_thinned():
    length = 3 * MAX_CELLS
    log = [entry(step, 2, [0, 0.5, 5, 50]) for step in range(0, length - 4, 2)]
    grid = SlotGrid.from_solution(solution(log, length))
    assert max(grid.kind.shape) <= MAX_CELLS
    assert {OUTSIDE, WAITING, ACCEPTED} == set(grid.kind.unique().tolist())
    assert share(pixels(draw_wavefront(solution(log, length))), INK_COLOUR) > 0


def test_accepted_and_waiting_slots_show_in_the_picture():
    picture = pixels(draw_wavefront(solution(WINDOWS, 6)))
    assert 0.1 < share(picture, ACCEPTED_COLOUR) < 0.4
    assert 0.3 < share(picture, "#ffffff") < 0.9
    assert len(picture.reshape(-1, 3).unique(dim=0)) > 50


def test_a_real_run_draws_itself_into_given_axes():
    from matplotlib.figure import Figure

    data = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    process = Denoising(ExactDenoiser(data), Schedule.linear().spaced(30))
    run = forerun.solve(process, torch.randn(2, 4, generator=torch.Generator().manual_seed(1)))
    figure = Figure()
    left, _ = figure.subplots(1, 2)
    assert run.plot(axes=left) is figure
    assert left.get_xlim() == (0, 30)


def test_nothing_is_drawn_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'forerun\[plot\]'"):
        draw_wavefront(solution(WINDOWS, 6))


def test_forerun_is_imported_and_drawn_without_pyplot():
    code = (
        "import sys, forerun.view; assert 'matplotlib' not in sys.modules\n"
        "forerun.view.canvas.new_axes(1, 1); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
