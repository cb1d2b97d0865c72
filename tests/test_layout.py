"""The layout: imports point one way, the README prints the real tree, public names are documented, budgets are kept."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "forerun"

# A module imports from its own row and the rows above. A name stands for a module or for a package with all inside.
ORDER = (
    {"engine.tree"},
    {"engine.process", "engine.rounds", "engine.checkpoint"},
    {"engine.tolerance", "engine.noise", "engine.scan", "engine.forecast", "engine.progress"},
    {"engine.window", "engine.solution", "engine.maps"},
    {"engine.sweep"},
    {"engine.methods", "engine.backends"},
    {"engine.guess", "engine.meter", "engine.jacobian"},
    {"engine.stretch"},
    {"engine.check", "engine.trail"},
    {"engine.run"},
    {"engine.solve"},
    {"engine.fixed_point", "engine.testing"},
    {"engine"},
    {"view", "diffusion", "optim", "policy", "sequence"},
    {""},  # forerun/__init__.py
    {"cli", "__main__"},
)
DOMAINS = {"view", "diffusion", "optim", "policy", "sequence"}
BUILT_ON = {("policy", "diffusion"), ("optim", "diffusion")}  # a domain that is built on another
UPWARD = {("engine.solution", "view")}  # Solution.plot() hands itself to the drawing, and imports it when asked

ENGINE_LIBRARIES = {"torch", "tqdm", "safetensors"}
LIBRARIES = {  # what a part may import besides
    "engine": set(),
    "view": {"matplotlib", "numpy", "PIL"},
    "diffusion": {"sklearn", "diffusers", "transformers"},
    "optim": {"numpy", "diffusers", "transformers", "skimage", "trimesh"},
    "policy": {"numpy", "diffusers", "metaworld", "mujoco", "gym_pusht", "imageio_ffmpeg", "PIL"},
    "sequence": {"sklearn", "transformers"},
    "": set(),
    "cli": {"typer", "rich", "diffusers", "transformers", "PIL"},
    "__main__": set(),
}
# the name to install, where it is not the name to import
PACKAGE = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "gym_pusht": "gym-pusht",
}
# not imported by `import forerun` alone
LAZY = {
    "matplotlib",
    "sklearn",
    "skimage",
    "trimesh",
    "diffusers",
    "transformers",
    "typer",
    "rich",
    "metaworld",
    "mujoco",
    "gym_pusht",
}

NAMES, FILE_LINES, METHOD_FILE_LINES, FUNCTION_LINES = 25, 300, 150, 60


@dataclass(frozen=True)
class Module:
    """One source file; `name` is dotted and leaves out the leading `forerun`."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.split(".")[0]


def read(path: Path) -> Module:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return Module(".".join(parts), path, ast.parse(path.read_text(), str(path)))


MODULES = {module.name: module for module in map(read, sorted(SOURCE.rglob("*.py")))}
every_module = pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name or "forerun")


def imports(module: Module, *, typing_too: bool = True) -> Iterator[str]:
    """The absolute dotted names that a module imports, at the top or inside a function."""
    hidden = set() if typing_too else {id(inner) for block in typing_blocks(module) for inner in ast.walk(block)}
    for node in ast.walk(module.tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def typing_blocks(module: Module) -> Iterator[ast.If]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            yield node


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["forerun", *(module.name.split(".") if module.name else [])]
    package = package if module.path.name == "__init__.py" else package[:-1]
    return ".".join(package[: len(package) - node.level + 1] + ([node.module] if node.module else []))


def imported_modules(module: Module) -> set[str]:
    """The modules of forerun that a module imports: the longest prefix of each name that is a file."""
    found = set()
    for name in imports(module):
        if name.split(".")[0] == "forerun":
            parts = name.split(".")[1:]
            while ".".join(parts) not in MODULES:
                parts.pop()
            found.add(".".join(parts))
    return found - {module.name}


def row(name: str) -> int | None:
    """The row of ORDER that holds a module, by its longest listed prefix."""
    parts = name.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    if name not in {"engine", ""} and prefixes[-1] == "engine":
        prefixes.pop()  # a new module of the engine needs a place of its own
    return next((index for prefix in prefixes for index, names in enumerate(ORDER) if prefix in names), None)


@every_module
def test_every_module_has_a_place_in_the_order(module):
    assert row(module.name) is not None, f"forerun.{module.name} is in no row of ORDER: add it where it belongs"


@every_module
def test_imports_point_one_way(module):
    for target in imported_modules(module):
        if (module.name, target.split(".")[0]) not in UPWARD:
            assert row(target) <= row(module.name), f"forerun.{module.name} imports forerun.{target}, which is above it"


def test_no_module_imports_itself_through_others():
    graph = {
        name: {target for target in imported_modules(module) if (name, target.split(".")[0]) not in UPWARD}
        for name, module in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(f"forerun.{name}" for name in error.args[1]))


@every_module
def test_a_domain_imports_no_other(module):
    for target in imported_modules(module):
        other = target.split(".")[0]
        if module.part in DOMAINS and other in DOMAINS - {module.part}:
            assert (module.part, other) in BUILT_ON, f"forerun.{module.name} imports from the domain {other}"


@every_module
def test_third_party_packages_stay_in_their_folder(module):
    allowed = ENGINE_LIBRARIES | LIBRARIES[module.part] | {"forerun"} | sys.stdlib_module_names
    foreign = {name.split(".")[0] for name in imports(module, typing_too=False)} - allowed
    assert not foreign, f"forerun.{module.name} imports {', '.join(sorted(foreign))}; see LIBRARIES"


def test_every_third_party_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}
    used = {name.split(".")[0] for module in MODULES.values() for name in imports(module)}
    foreign = used - sys.stdlib_module_names - {"forerun"}
    assert {PACKAGE.get(name, name) for name in foreign} <= declared


def test_importing_forerun_imports_no_extra():
    code = "import sys, forerun; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not LAZY & set(loaded.stdout.split())


def printed_tree(text: str) -> dict[str, str]:
    """Path -> description, from the fenced block that begins with `src/forerun/`; folders end with a slash."""
    block = re.search(r"^```\w*\nsrc/forerun/[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert block, "README.md has no fenced block that begins with src/forerun/"
    entries: dict[str, str] = {}
    above: list[tuple[int, str]] = []  # the folders that the line is in, with their columns
    for line in block[1].splitlines():
        entry = re.fullmatch(r"([\s│├└─|`+-]*)(\S+)\s*#?\s*(.*)", line)
        if entry is None or not entry[2]:
            continue
        column, name, description = len(entry[1]), entry[2], entry[3]
        while above and above[-1][0] >= column:
            above.pop()
        path = "".join(folder for _, folder in above) + name
        entries[path] = description
        if name.endswith("/"):
            above.append((column, name))
    return entries


def test_the_printed_tree_is_read_as_it_stands():
    text = "# x\n\n```text\nsrc/forerun/\n  a.py    one\n  b/      two\n    c.py  # three\n  d.py    four\n```\n"
    assert printed_tree(text) == {"a.py": "one", "b/": "two", "b/c.py": "three", "d.py": "four"}
    drawn = "```\nsrc/forerun/  all\n├── b/      two\n│   └── c.py  three\n└── d.py    four\n```\n"
    assert printed_tree(drawn) == {"b/": "two", "b/c.py": "three", "d.py": "four"}


def test_the_readme_prints_the_real_tree():
    printed = printed_tree((ROOT / "README.md").read_text())
    files = {str(module.path.relative_to(SOURCE)) for module in MODULES.values()}
    implied = {name for name in files if name.endswith("/__init__.py")}  # its folder's line describes it
    folders = {f"{parent}/" for name in files for parent in map(str, Path(name).parents) if parent != "."}
    missing, gone = (files - implied | folders) - set(printed), {p for p in printed if not (SOURCE / p).exists()}
    assert not missing, f"not in the README's tree: {sorted(missing)}"
    assert not gone, f"in the README's tree, but not in src/forerun: {sorted(gone)}"
    undescribed = sorted(path for path, description in printed.items() if not description)
    assert not undescribed, f"without a description in the README's tree: {undescribed}"


def test_forerun_exports_few_names_all_documented():
    import forerun

    assert len(forerun.__all__) <= NAMES
    for name in forerun.__all__:
        value = getattr(forerun, name)
        if inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, ModuleType):
            words = value.__doc__ or ""
            words = "" if words.startswith(f"{name}(") else words  # a dataclass writes one of its own
            assert words, f"forerun.{name} has no docstring"


@every_module
def test_public_names_are_documented(module):
    public = [
        node
        for node in module.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    for definition in public:
        assert ast.get_docstring(definition), f"forerun.{module.name}.{definition.name} has no docstring"
        if isinstance(definition, ast.ClassDef) and "ABC" in {ast.unparse(base) for base in definition.bases}:
            for method in definition.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    where = f"forerun.{module.name}.{definition.name}.{method.name}"
                    assert ast.get_docstring(method), (
                        f"{where} has no docstring: a method is documented here, and only here"
                    )


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, less the docstring."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    return function.end_lineno - function.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


@every_module
def test_files_and_functions_keep_their_budgets(module):
    lines = len(module.path.read_text().splitlines())
    budget = METHOD_FILE_LINES if module.name.startswith("engine.methods") else FILE_LINES
    assert lines <= budget, (
        f"{module.path.relative_to(ROOT)} has {lines} lines; the budget is {budget}: split it by noun"
    )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = f"forerun.{module.name}.{node.name}"
            assert code_lines(node) <= FUNCTION_LINES, (
                f"{where} has {code_lines(node)} lines; the budget is {FUNCTION_LINES}"
            )
