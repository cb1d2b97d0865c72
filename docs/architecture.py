"""Write docs/architecture.md, the map of the house, from the docstrings of the modules: `python docs/architecture.py`.

A test runs this again and compares: a new file stands in the map with the first sentence of its docstring.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "forerun"
PAGE = ROOT / "docs" / "architecture.md"

HEAD = """\
# The house

<!-- Written by docs/architecture.py from the docstrings of the modules. Change those, and run it again. -->

The engine says *how* a path is run ahead of itself and knows no field. Adapters and fields say *whose loop* it is.
Studies say *which paper*. What they are tried on is beside them, in `worlds`. Imports point one way,

```
{shelves}
```

where a field uses another only if it says so in its `__init__.py`; `tests/test_layout.py` holds the house to that.

To read how a run works, begin with `engine/process.py`, `engine/solve.py` and `engine/solution.py`; one round is on one
screen there. An algorithm is a file in `engine/methods/`.
"""


def sentence_of(path: Path) -> str:
    """Return the first sentence of a module's docstring, as it stands in the map."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.][.])\s(?=[A-Z`])", paragraph)[0]
    return sentence.rstrip(".")


def folder_lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """Yield a line for every file below a folder, packages before modules, indented by depth."""
    entries = sorted(folder.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    for entry in entries:
        indent = "    " * depth
        if (entry / "__init__.py").exists():
            yield f"{indent}- **{entry.name}/** {sentence_of(entry / '__init__.py')}"
            yield from folder_lines(entry, depth + 1)
        elif entry.suffix == ".py" and entry.name != "__init__.py":
            yield f"{indent}- `{entry.name}` {sentence_of(entry)}"


def shelves() -> list[str]:
    """Return the shelves that pyproject.toml declares, from below to above."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return project["tool"]["forerun"]["shelves"]


def sections() -> list[Path]:
    """Return the folders of the package in the order of their shelves; fields by name."""
    order = shelves()
    folders = [path.parent for path in SOURCE.glob("*/__init__.py")]

    def place(folder: Path) -> tuple[int, str]:
        shelf = folder.name if folder.name in order else "fields"
        return order.index(shelf), folder.name

    return sorted(folders, key=place)


def architecture() -> str:
    """Return the text of the page."""
    lines = [HEAD.format(shelves=" <- ".join(shelves()))]
    for folder in sections():
        lines += [f"## {folder.name}", "", f"{sentence_of(folder / '__init__.py')}.", "", *folder_lines(folder), ""]
    lines += ["## At the top", "", f"- `__init__.py` {sentence_of(SOURCE / '__init__.py')}"]
    lines += [f"- `{path.name}` {sentence_of(path)}" for path in sorted(SOURCE.glob("[!_]*.py"))]
    lines += [f"- `__main__.py` {sentence_of(SOURCE / '__main__.py')}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(architecture())
    print(PAGE.relative_to(ROOT))
