"""Trainability: maps against closed forms and single runs, dimensions of plain shapes, zooms, refusals."""

import pytest
import torch

from forerun.optim.box_dimension import count_boxes
from forerun.optim.trainability import HyperAxis, map_trainability, zoom_trainability

START = (torch.tensor([1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64))
RATES = (HyperAxis(-1.0, 1.0, "rate", (0,)), HyperAxis(-1.0, 1.0, "rate", (1,)))


def two_parabolas(parameters, step):
    first, second = parameters
    return first[:, 0].square() + second[:, 0].square() / 2


def test_parabolas_converge_below_the_rates_of_the_closed_form():
    """A step multiplies by 1 - 2 rate and by 1 - rate."""
    picture = map_trainability(two_parabolas, START, RATES, resolution=24, steps=300, batch=100)
    rows, columns = (10.0 ** axis.divide_range(24) for axis in RATES)
    expected = (rows < 1)[:, None] & (columns < 2)
    assert torch.equal(picture.converged, expected)
    assert 0 < picture.share < 1


def test_runs_that_stop_change_no_verdict_and_save_steps():
    stopped = map_trainability(two_parabolas, START, RATES, resolution=20, steps=60)
    patient = map_trainability(two_parabolas, START, RATES, resolution=20, steps=60, ceiling=float("inf"), batch=7)
    assert torch.equal(stopped.converged, patient.converged)
    assert stopped.run_steps < patient.run_steps == 60 * 400
    durations = [picture.durations[picture.converged] for picture in (stopped, patient)]
    torch.testing.assert_close(*durations)


def test_a_mean_moves_the_beginning():
    axes = (HyperAxis(-3.0, 1.0, "mean", (0,)), HyperAxis(-1.0, 1.0, "rate", (0, 1)))
    starts = []

    def record_start(parameters, step):
        if step == 0:
            starts.append(parameters[0].detach()[:, 0])
        return two_parabolas(parameters, step)

    map_trainability(record_start, START, axes, resolution=3, steps=1, tail=1)
    torch.testing.assert_close(starts[0].reshape(3, 3)[:, 0], torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64))


def test_zooms_stay_on_the_boundary():
    films = list(zoom_trainability(two_parabolas, START, RATES, zooms=3, resolution=41, factor=10.0, steps=40))
    assert len(films) == 4
    for picture in films:
        assert bool(picture.find_boundary().any())
    last = films[-1].axes[0]
    assert last.high - last.low == pytest.approx(2e-3)


def test_dimensions_of_plain_shapes():
    line = torch.eye(128, dtype=torch.bool)
    assert count_boxes(line).dimension == pytest.approx(1)
    assert count_boxes(torch.ones(128, 128, dtype=torch.bool)).dimension == pytest.approx(2)
    carpet = torch.ones(1, 1, dtype=torch.bool)
    for _ in range(7):  # Sierpinski's triangle
        carpet = torch.cat([torch.cat([carpet, carpet], 1), torch.cat([carpet, torch.zeros_like(carpet)], 1)])
    measured = count_boxes(carpet)
    assert measured.dimension == pytest.approx(1.58496, abs=1e-4)
    assert measured.error < 1e-6


def test_shades_tell_converged_runs_from_others():
    picture = map_trainability(two_parabolas, START, RATES, resolution=16, steps=40)
    shades = picture.shade_pixels()
    assert torch.equal(shades > 0, picture.converged)
    assert shades.abs().max() <= 1


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"resolution": 1}, "resolution must be 2 or more"),
        ({"tail": 0}, "tail must be between 1 and steps"),
        ({"tail": 9, "steps": 8}, "tail must be between 1 and steps=8"),
        ({"ceiling": float("nan")}, "ceiling must be above 1"),
        ({"axes": (RATES[0], HyperAxis(0, 1, "rate", (2,)))}, "there are 2"),
        ({"axes": (HyperAxis(0, 1, "mean"), HyperAxis(0, 1, "mean"))}, "no axis changes a rate"),
        ({"loss_of": lambda parameters, step: parameters[0].mean() + parameters[1].mean()}, "no mean over runs"),
        ({"loss_of": lambda parameters, step: 0 * two_parabolas(parameters, step)}, "finite and above zero"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    settings = {"loss_of": two_parabolas, "axes": RATES, "resolution": 4} | settings
    with pytest.raises(ValueError, match=says):
        map_trainability(start=START, **settings)


def test_bad_axes_and_boundaries_are_refused():
    with pytest.raises(ValueError, match="up to a larger one"):
        HyperAxis(1.0, 1.0)
    with pytest.raises(ValueError, match="a 'rate' or a 'mean'"):
        HyperAxis(0.0, 1.0, "momentum")
    with pytest.raises(ValueError, match="at least 32 by 32"):
        count_boxes(torch.ones(8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="has no dimension"):
        count_boxes(torch.zeros(64, 64, dtype=torch.bool))
    flat = map_trainability(two_parabolas, START, (RATES[0].narrow_range(-0.9, 20),) * 2, resolution=4, steps=40)
    with pytest.raises(ValueError, match="end alike"):
        flat.narrow_axes(4)
    with pytest.raises(ValueError, match="must be above one"):
        flat.narrow_axes(1.0)
