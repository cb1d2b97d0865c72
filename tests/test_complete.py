"""What a class or a field brings with it: a page that says when to take it, an example, tests."""

import house
from house import MODULES, Module


def test_every_method_window_guess_and_tolerance_is_on_a_page():
    missing = house.unexplained(MODULES, house.pages())
    assert not missing, "\n" + "\n".join(missing)


def test_every_field_has_a_page_an_example_and_tests():
    missing = house.incomplete_fields(MODULES, house.pages(), house.examples())
    assert not missing, "\n" + "\n".join(missing)


def test_what_is_missing_is_said_in_words():
    moon = {
        "tides": Module("tides", '"""Tides."""\n__all__ = ["MoonMethod"]', is_package=True),
        "tides.moon": Module("tides.moon", "class MoonMethod(Method): ...\nclass _Dark(Guess): ..."),
    }
    (sentence,) = house.unexplained(moon, {"choosing": "Take Secant()."})
    assert sentence.startswith("Method MoonMethod (forerun.tides.moon) is on no page of the documentation")
    assert not house.unexplained(moon, {"choosing": "Take `MoonMethod()` by night."})
    page, example, tests = house.incomplete_fields(
        moon, {"choosing": "Take Secant()."}, {"01_the_idea": "import torch"}
    )
    assert "add docs/tides.md" in page
    assert "add examples/02_tides.py" in example
    assert "add tests/tides/test_tides.py" in tests
