import pytest
import torch
from view.drawing import pixels, share

from forerun.view import draw_side_by_side

pytest.importorskip("matplotlib")


def test_samples_stand_side_by_side():
    ink = torch.ones(3, 8, 8)
    figure = draw_side_by_side(ink, ink - 0.05, title="three", subtitle="squares")
    assert len(figure.axes) == 9
    difference = figure.axes[-1].images[0].get_array()
    assert float(difference.max()) == pytest.approx(10 * 0.05 - 1, abs=1e-5)
    assert any("5.0e-02" in text.get_text() for text in figure.texts)
    assert 0.04 < share(pixels(figure), "#000000") < 0.5


def test_no_more_samples_are_drawn_than_fit():
    figure = draw_side_by_side(torch.zeros(40, 8, 8), torch.zeros(40, 8, 8), title="forty")
    assert len(figure.axes) == 48
    assert any("first 16 of 40" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize("shapes", [((2, 8, 8), (3, 8, 8)), ((2, 64), (2, 64)), ((0, 8, 8), (0, 8, 8))])
def test_what_are_no_pictures_is_refused(shapes):
    with pytest.raises(ValueError, match="height, width"):
        draw_side_by_side(torch.zeros(shapes[0]), torch.zeros(shapes[1]), title="none")
