"""The generated pages are those of the package as it is: the map of the house, the API pages, the README's map."""

import ast
import re

import architecture
import house
import mkdocs_hooks
from house import MODULES, ROOT

import forerun


def test_the_map_of_the_house_is_true():
    page = architecture.PAGE.read_text()
    assert page == architecture.architecture(), "type: python docs/architecture.py"


def test_the_map_names_every_module():
    page = architecture.PAGE.read_text()
    for module in MODULES.values():
        name = module.name.split(".")[-1]
        assert module.is_package or f"`{name}.py`" in page, module.title


def test_a_sentence_of_the_map_ends_where_the_sentence_does(tmp_path):
    path = tmp_path / "moon.py"
    path.write_text('"""Tides: `ebb ... flow`, see e.g. the\nmoon. Not this.\n\nNor this."""')
    assert architecture.sentence_of(path) == "Tides: `ebb ... flow`, see e.g. the moon"


def test_the_readme_maps_the_folders_of_the_package():
    block = re.search(r"^```text\nsrc/forerun/\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    named = re.findall(r"^    (\w+)/ +\S", block[1], re.MULTILINE)
    folders = {folder.name for folder in architecture.sections()}
    shelves = set(architecture.shelves()) - {"fields"}
    assert set(named) <= folders, "the map in README.md names a folder that is gone"
    assert shelves <= set(named), "the map in README.md has a line for every shelf"
    assert len(named) == len(set(named)) <= 16


def test_every_exported_name_is_on_a_page_of_the_reference():
    pages = dict(mkdocs_hooks.api_pages())
    rendered = set(re.findall(r"^::: forerun\.(\S+)$", "\n".join(pages.values()), re.MULTILINE))
    for module in MODULES.values():
        if module.is_package and exports(module) and module.folder not in {"", "cli"}:
            assert module.name in rendered, f"{module.title} has an __all__, but no page renders it"
    for name in forerun.__all__:
        value = getattr(forerun, name)
        parts = value.__module__.split(".")[1:]
        places = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
        assert places & rendered, f"forerun.{name} of {value.__module__} is on no page of the reference"


def exports(module):
    return house.exported_names({module.name: module})


def test_pages_that_the_navigation_does_not_name_are_found():
    nav = [{"The idea": "index.md"}, {"Use": [{"How": "choosing.md"}, "noise.md"]}]
    assert list(mkdocs_hooks.named_pages(nav)) == ["index.md", "choosing.md", "noise.md"]


def test_the_script_that_writes_the_map_parses():
    """It runs in `make docs` without the package installed: it imports nothing of it."""
    for name in ("architecture", "mkdocs_hooks"):
        tree = ast.parse((ROOT / "docs" / f"{name}.py").read_text())
        imported = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("forerun" in line for line in imported)


def test_the_glossary_names_classes_that_there_are():
    """A name in code with a capital is a class; those that a method's author meets are all in it."""
    page = (ROOT / "docs" / "glossary.md").read_text()
    named = set(re.findall(r"`([A-Z][a-z]\w+)`", page))
    classes = {definition.name for _, definition in house.class_definitions(MODULES)}
    assert named <= classes, f"not in the package: {sorted(named - classes)}"
    abstract = {definition.name for module, definition in house.class_definitions(MODULES)
                if module.folder == "engine" and "ABC" in house.base_names(definition)}  # fmt: skip
    assert abstract - {"Progress", "SlopeMethod"} <= named, "say in docs/glossary.md what it is"


def test_the_glossary_explains_what_a_method_gets_and_gives():
    page = (ROOT / "docs" / "glossary.md").read_text()
    for name in ("WindowState", "WindowUpdate", "SweepResult", "KnownPrefix", "RestartPoint", "SolveOptions"):
        assert f"`{name}`" in page
