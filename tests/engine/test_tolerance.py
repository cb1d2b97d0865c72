"""Norms by hand-computed numbers, and settings that cannot work."""

import pytest
import torch

from forerun import Absolute, Moving, Relative
from forerun.engine.tolerance import PerStep, largest_element, rms

STEPS = torch.tensor([0, 1, 2])
MOVES = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 1.0]], [[6.0, -8.0], [0.0, -1.0]]])  # (3, 2, 2)
INPUTS = 10 * torch.ones_like(MOVES)
HALF = 0.5**0.5


def test_absolute_is_the_root_mean_square_of_each_sample():
    expected = torch.tensor([[5 * HALF, 0.0], [2 * HALF, 1.0], [10 * HALF, HALF]])
    torch.testing.assert_close(Absolute(1e-3).norm(STEPS, MOVES, INPUTS), expected)


def test_the_size_can_be_another():
    expected = torch.tensor([[4.0, 0.0], [2.0, 1.0], [8.0, 1.0]])
    torch.testing.assert_close(Absolute(1e-3, size=largest_element).norm(STEPS, MOVES, INPUTS), expected)


def test_relative_is_measured_by_the_input_and_never_by_less_than_the_floor():
    found = Relative(0.1, floor=0.0).norm(STEPS, MOVES, INPUTS)
    torch.testing.assert_close(found, Absolute().norm(STEPS, MOVES, INPUTS) / 10)
    tiny = Relative(0.1, floor=0.5).norm(STEPS, MOVES, torch.zeros_like(INPUTS))
    torch.testing.assert_close(tiny, Absolute().norm(STEPS, MOVES, INPUTS) / 5)
    # a move of the floor meets the threshold exactly
    at_floor = Relative(0.1, floor=0.5).norm(STEPS[:1], 0.5 * torch.ones(1, 1, 2), torch.zeros(1, 1, 2))
    assert float(at_floor) == pytest.approx(Relative(0.1).threshold())


def test_relative_of_nothing_is_nothing():
    zero = torch.zeros(1, 1, 2)
    assert float(Relative(0.1, floor=0.0).norm(STEPS[:1], zero, zero)) == 0.0


def test_each_step_has_its_level():
    tolerance = PerStep(0.1, torch.tensor([1.0, 2.0, 4.0]))
    expected = torch.tensor([[5 * HALF, 0.0], [HALF, 0.5], [2.5 * HALF, HALF / 4]])
    torch.testing.assert_close(tolerance.norm(STEPS, MOVES, INPUTS), expected)
    torch.testing.assert_close(tolerance.norm(STEPS[1:], MOVES[1:], INPUTS[1:]), expected[1:])


def test_levels_are_taken_without_a_batch_too():
    found = PerStep(0.1, torch.tensor([1.0, 2.0])).norm(STEPS[:2], torch.ones(2, 3), torch.ones(2, 3))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize("size", [rms, largest_element])
def test_rows_without_elements_have_no_size(size):
    assert size(torch.zeros(4, 2, 0)).tolist() == [[0.0, 0.0]] * 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: Absolute(-1e-3),
        lambda: Absolute(float("nan")),
        lambda: Relative(-1.0),
        lambda: Relative(0.1, floor=-1.0),
        lambda: PerStep(-0.1, torch.ones(3)),
    ],
)
def test_what_no_residual_can_keep_is_refused(make):
    with pytest.raises(ValueError, match=r"must be a number >= 0.*pass one such as 1e-3"):
        make()


@pytest.mark.parametrize("levels", [torch.tensor([1.0, 0.0]), torch.tensor([1.0, torch.nan]), torch.ones(2, 2)])
def test_levels_that_are_no_units_are_refused(levels):
    with pytest.raises(ValueError, match=r"pass levels\.clamp_min"):
        PerStep(0.1, levels)


def test_only_moving_changes_its_threshold():
    for tolerance in (Absolute(0.2), Relative(0.2), PerStep(0.2, torch.ones(3))):
        assert tolerance.threshold() == 0.2
        assert tolerance.follow(0.1, [0.0, 5.0]) == 0.1


def test_moving_follows_the_official_rule_over_many_rounds():
    """DreamPropeller: thr <- 0.9 thr + 0.1 E, E the error in the middle of the window (its residual counts from 1)."""
    windows = [[8.0, 6.0, 4.0], [4.0, 4.0, 2.0, 1.0], [3.0], [1.0, 0.5]]
    threshold, expected = 5.0, [0.9 * 5 + 0.4]
    for middle in (2.0, 3.0, 0.5):
        expected.append(0.9 * expected[-1] + 0.1 * middle)
    for errors, following in zip(windows, expected, strict=True):
        threshold = Moving(5.0).follow(threshold, [0.0, *errors])
        assert threshold == pytest.approx(following)


def test_moving_by_the_mean_and_with_another_momentum():
    rule = Moving(5.0, momentum=0.5, mean=True)
    assert rule.follow(5.0, [0.0, 8.0, 6.0, 4.0]) == pytest.approx(0.5 * 5 + 0.5 * 6)
    assert rule.follow(5.0, [0.0, float("inf"), 1.0]) == 5.0
    assert rule.follow(5.0, [0.0]) == 5.0


def test_moving_measures_a_million_mean_squares():
    torch.testing.assert_close(Moving(5.0).norm(STEPS, MOVES, INPUTS), 1e6 * MOVES.square().mean(-1))
    torch.testing.assert_close(Moving(5.0, scale=1.0).norm(STEPS, MOVES, INPUTS), MOVES.square().mean(-1))
