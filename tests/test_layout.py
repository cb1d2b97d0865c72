"""The layout: imports point one way, extras stay in their folders, public names are documented, budgets are kept.

The rules are in house.py; no module is named here, so that a new one needs no line in this file.
"""

import inspect
import subprocess
import sys
from types import ModuleType

import house
import pytest
from house import MODULES, Module

MAX_NAMES = 30
MAX_FILE_LINES = 300
MAX_METHOD_FILE_LINES = 180
MAX_FUNCTION_LINES = 40


def keeps(breaches):
    assert not breaches, "\n" + "\n".join(breaches)


def with_modules(*texts, package=()):
    """The package's modules, and others as if they were there: `("field.module", "import this")`."""
    added = [Module(name, text) for name, text in texts]
    added += [Module(name, text, is_package=True) for name, text in package]
    return MODULES | {module.name: module for module in added}


def broken_by(rule, *texts, package=()):
    """The sentences of a rule that are new once some modules are added."""
    before = set(rule(MODULES))
    return [sentence for sentence in rule(with_modules(*texts, package=package)) if sentence not in before]


def test_imports_point_one_way():
    keeps(house.upward_imports(MODULES))


def test_no_import_goes_round_in_a_circle():
    keeps(house.circles(MODULES))


def test_a_field_names_the_fields_it_is_built_on():
    keeps(house.field_imports(MODULES))


def test_third_party_packages_stay_in_the_folders_whose_extras_ask_for_them():
    keeps(house.foreign_imports(MODULES))


def test_public_names_are_documented():
    keeps(house.undocumented(MODULES))


def test_files_keep_their_budget():
    keeps(house.long_files(MODULES, lines=MAX_FILE_LINES, method_lines=MAX_METHOD_FILE_LINES))


def test_functions_keep_their_budget():
    keeps(house.long_functions(MODULES, lines=MAX_FUNCTION_LINES))


def test_declared_imports_that_point_up_are_still_there():
    """A declaration that nothing needs is taken out of pyproject.toml."""
    for declaration in house.DECLARED["upward"]:
        source, target = declaration.split(" -> ")
        assert target in house.imported_modules(MODULES[source], MODULES), declaration


def test_importing_forerun_imports_no_extra():
    def loaded(imports):
        code = f"import sys, {imports}; print(*sys.modules)"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
        return set(ran.stdout.split())

    core = "torch, tqdm, safetensors.torch, torch.utils._pytree"
    optional = house.optional_modules()
    assert {"matplotlib", "diffusers", "typer", "sklearn"} <= optional
    assert not loaded("forerun") & optional - loaded(core)


def test_forerun_exports_few_names_all_documented():
    import forerun

    assert len(forerun.__all__) <= MAX_NAMES
    for name in forerun.__all__:
        value = getattr(forerun, name)
        if inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, ModuleType):
            words = value.__doc__ or ""
            words = "" if words.startswith(f"{name}(") else words  # a dataclass writes one of its own
            assert words, f"forerun.{name} has no docstring"


# The rules notice what they are there for.


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("engine.numerics.dates", "from forerun.engine.process import Process", "circle"),
        ("engine.numerics.dates", "def f():\n    from ..solve import solve", "circle"),
        ("engine.dates", "from forerun.engine import solve\nfrom forerun.engine.methods import Dates", ""),
    ],
)
def test_a_circle_is_found(name, text, says):
    found = broken_by(house.circles, (name, text))
    assert bool(found) == bool(says)
    assert all(says in sentence for sentence in found)


def test_a_circle_of_two_modules_is_found():
    found = broken_by(
        house.circles,
        ("engine.dawn", "from forerun.engine.dusk import Dusk"),
        ("engine.dusk", "from forerun.engine.dawn import Dawn"),
    )
    assert any("engine.dawn <- engine.dusk <- engine.dawn" in sentence for sentence in found)


@pytest.mark.parametrize(
    "name, text",
    [
        ("engine.dates", "from forerun.view import plot"),
        ("view.dates", "from forerun.diffusion import denoising"),
        ("tides", "from forerun.worlds import digits"),
        ("worlds.tides", "import forerun.cli.app"),
    ],
)
def test_an_import_that_points_up_is_found(name, text):
    (sentence,) = broken_by(house.upward_imports, (name, text))
    assert sentence.startswith(f"forerun.{name} imports forerun.")


def test_imports_that_point_down_are_fine():
    assert not broken_by(house.upward_imports, ("tides.moon", "from forerun.view import plot\nimport forerun"))
    assert not broken_by(house.upward_imports, ("worlds.sea", "from forerun.policy import Sampler"))


def test_a_field_that_uses_another_says_so():
    moon = ("tides.moon", "from forerun.sequence import generate")
    (sentence,) = broken_by(house.field_imports, moon, package=[("tides", "")])
    assert "forerun.tides imports sequence: write __built_on__ = ('sequence',)" in sentence
    assert not broken_by(house.field_imports, moon, package=[("tides", "__built_on__ = ('sequence',)")])
    (sentence,) = broken_by(house.field_imports, package=[("tides", "__built_on__ = ('sequence',)")])
    assert "does not import sequence" in sentence


@pytest.mark.parametrize(
    "name, text, is_foreign",
    [
        ("engine.dates", "import pandas", True),
        ("engine.dates", "def f():\n    import typer", True),
        ("engine.dates", "import torch.nn\nfrom datetime import date", False),
        ("engine.dates", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas", False),
        ("tides", "import sklearn.datasets", True),
        ("tides", "import safetensors", False),
        ("cli.tides", "import rich.table", False),
        ("worlds.tides", "from sklearn.datasets import load_digits", False),
    ],
)
def test_a_third_party_package_that_no_extra_asks_for_is_found(name, text, is_foreign):
    found = broken_by(house.foreign_imports, (name, text))
    assert bool(found) == is_foreign
    assert all("add it to an extra" in sentence for sentence in found)


def test_what_is_not_documented_is_found():
    text = (
        '"""Tides."""\nclass Moon(ABC):\n    """A moon."""\n    def rise(self): ...\ndef ebb(): ...\ndef _flow(): ...'
    )
    found = broken_by(house.undocumented, ("tides", text))
    assert len(found) == 2
    assert "forerun.tides.Moon.rise has no docstring" in found[0]
    assert "forerun.tides.ebb has no docstring" in found[1]


def test_what_is_too_long_is_found():
    def too_long(modules):
        return house.long_files(modules, lines=300, method_lines=180) + house.long_functions(modules, lines=47)

    function = '"""Doc."""\ndef f():\n    """Doc\n\n    string."""\n' + "    x = 1\n" * 60
    assert broken_by(too_long, ("tides", function)) == ["forerun.tides.f has 61 lines; the budget is 47"]
    assert "budget is 180" in broken_by(too_long, ("engine.methods.tides", "x = 1\n" * 181))[0]
    assert not broken_by(too_long, ("tides", "x = 1\n" * 300))
