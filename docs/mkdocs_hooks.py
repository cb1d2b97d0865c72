"""What mkdocs adds to the hand-written pages: an API page per noun, and pages that nav does not name.

A noun is a module or package of the engine whose names a user imports, or a field with its packages. Nothing is listed
here: a new method, field or study stands in the documentation because it is there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "forerun"
FIRST = ("process", "solve", "options", "solution")  # of the engine, in reading order


def module_tree(path: Path) -> ast.Module:
    """Parse a module, or the `__init__.py` of a package."""
    return ast.parse((path / "__init__.py" if path.is_dir() else path).read_text())


def exports(path: Path) -> list[str]:
    """Return the `__all__` of a module or package; nothing where it has none."""
    for node in module_tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def imported_from() -> set[str]:
    """Return the modules that `forerun/__init__.py` takes its names from."""
    body = module_tree(SOURCE).body
    return {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}


def dotted(path: Path) -> str:
    """Return the name to import."""
    return ".".join(["forerun", *path.relative_to(SOURCE).with_suffix("").parts])


def engine_nouns() -> list[Path]:
    """Return the modules and packages of the engine that users import from."""
    taken = imported_from()
    paths = [path for path in (SOURCE / "engine").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    nouns = [path for path in paths if dotted(path) in taken or (path.is_dir() and exports(path))]
    order = {name: place for place, name in enumerate(FIRST)}
    return sorted(nouns, key=lambda path: (order.get(path.stem, len(order)), path.stem))


def field_nouns() -> list[Path]:
    """Return the packages beside the engine whose names users import; commands are typed instead."""
    folders = [path.parent for path in SOURCE.glob("*/__init__.py")]
    return sorted(folder for folder in folders if folder.name not in {"engine", "cli"} and packages(folder))


def packages(folder: Path) -> list[Path]:
    """Return a folder and the packages inside it, as far as they have an `__all__`."""
    inside = sorted(path.parent for path in folder.rglob("__init__.py"))
    return [path for path in inside if exports(path)]


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every API page."""
    for noun in engine_nouns():
        yield noun.stem, api_page(noun.stem.capitalize(), [noun])
    for noun in field_nouns():
        yield noun.stem, api_page(f"forerun.{noun.stem}", packages(noun))


def api_page(title: str, modules: list[Path]) -> str:
    """Return a page that renders the docstrings of some modules."""
    blocks = [f"::: {dotted(module)}" for module in modules]
    return "\n\n".join([f"# {title}", *blocks]) + "\n"


def on_config(config: Any) -> Any:
    """Put the API pages into the navigation, and pages that it does not name where they belong."""
    docs = Path(config.docs_dir)
    named = set(named_pages(config.nav))
    more = sorted(path.name for path in docs.glob("*.md") if path.name not in named)
    config.nav += [{"More": more}] if more else []
    config.nav.append({"Studies": study_pages(docs)})
    config.nav.append({"Reference": [f"api/{name}.md" for name, _ in api_pages()]})
    return config


def study_pages(docs: Path) -> list[str]:
    """Return the pages of studies, the gallery first."""
    pages = sorted(f"studies/{path.name}" for path in docs.glob("studies/*.md"))
    return sorted(pages, key=lambda page: page != "studies/index.md")


def named_pages(nav: Any) -> Iterator[str]:
    """Yield the paths that a navigation names."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for entry in nav.values():
            yield from named_pages(entry)
    else:
        for entry in nav:
            yield from named_pages(entry)


def on_files(files: Any, config: Any) -> Any:
    """Add the API pages, which are not on disk."""
    from mkdocs.structure.files import File  # only here: the tests read the rest without mkdocs

    for name, text in api_pages():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files
