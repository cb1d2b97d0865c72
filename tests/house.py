"""The house as it stands: the modules of the package, what they import, and the rules that hold between them.

Every rule is a function from modules to sentences, one for each breach: a test runs it on the package, and on modules
made up to break it. What is declared is read from `[tool.forerun]` and the extras in pyproject.toml.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "forerun"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = PYPROJECT["tool"]["forerun"]
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file; `name` is dotted and leaves out the leading `forerun`."""

    name: str
    text: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return parsed(self.text)

    @property
    def folder(self) -> str:
        return self.name.split(".")[0]

    @property
    def title(self) -> str:
        return f"forerun.{self.name}" if self.name else "forerun"


parsed = cache(ast.parse)


def read_module(path: Path) -> Module:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, path.read_text(), is_package)


def read_package() -> dict[str, Module]:
    modules = map(read_module, sorted(SOURCE.rglob("*.py")))
    return {module.name: module for module in modules}


MODULES = read_package()


# What a module imports.


@cache
def imported_names(module: Module, *, typing_too: bool = True) -> frozenset[str]:
    """The absolute dotted names that a module imports, at the top or inside a function."""
    hidden = set() if typing_too else set(typing_nodes(module))
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(module, node)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(names)


def typing_nodes(module: Module) -> Iterator[ast.AST]:
    """What stands under `if TYPE_CHECKING`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            yield from ast.walk(node)


def absolute_name(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["forerun", *filter(None, module.name.split("."))]
    if not module.is_package:
        package.pop()
    package = package[: len(package) - node.level + 1]
    return ".".join(filter(None, [*package, node.module]))


def imported_modules(module: Module, modules: dict[str, Module]) -> set[str]:
    """The modules of forerun that a module imports: the longest prefix of each name that is a file."""
    targets = set()
    for name in imported_names(module):
        root, *parts = name.split(".")
        if root != "forerun":
            continue
        while parts and ".".join(parts) not in modules:
            parts.pop()
        targets.add(".".join(parts))
    return targets - {module.name}


def import_graph(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Module -> the modules it imports, without the few imports that are declared to point up."""
    graph = {name: imported_modules(module, modules) for name, module in modules.items()}
    for declaration in DECLARED["upward"]:
        source, target = declaration.split(" -> ")
        graph.get(source, set()).discard(target)
    return graph


# Shelves: what stands above what.


def shelf(name: str) -> int:
    """The number of a module's shelf, from below; a folder that is not named in pyproject.toml is a field."""
    folder = name.split(".")[0] or "engine"  # forerun/__init__.py is the engine's table of contents
    shelves = DECLARED["shelves"]
    if folder == "__main__":
        return len(shelves) - 1
    return shelves.index(folder if folder in shelves else "fields")


def upward_imports(modules: dict[str, Module]) -> list[str]:
    order = " < ".join(DECLARED["shelves"])
    return [
        f"forerun.{name} imports forerun.{target}, which stands above it ({order}): move what it needs down"
        for name, targets in import_graph(modules).items()
        for target in sorted(targets)
        if shelf(target) > shelf(name)
    ]


def circles(modules: dict[str, Module]) -> list[str]:
    """Circles of imports between modules, and between the files and folders that stand side by side."""
    graph = import_graph(modules)
    found = [circle_in(graph, "the modules")]
    for package in modules.values():
        if package.is_package:
            found.append(circle_in(side_by_side(package.name, graph), f"the parts of {package.title}"))
    return list(filter(None, found))


def side_by_side(package: str, graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph of imports between the files and folders of one package."""
    prefix = f"{package}." if package else ""

    def child(name: str) -> str:
        return name.removeprefix(prefix).split(".")[0] if name.startswith(prefix) else ""

    children: dict[str, set[str]] = {}
    for name, targets in graph.items():
        if child(name):
            children.setdefault(child(name), set()).update(map(child, targets))
    return {name: targets - {name, ""} for name, targets in children.items()}


def circle_in(graph: dict[str, set[str]], title: str) -> str:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return f"a circle of imports between {title}: " + " <- ".join(error.args[1])
    return ""


# Fields: built on another only where they say so.


def built_on(folder: str, modules: dict[str, Module]) -> set[str]:
    """The fields that a field says it is built on: `__built_on__ = ("diffusion",)` in its `__init__.py`."""
    for node in modules[folder].tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__built_on__":
            return set(ast.literal_eval(node.value))
    return set()


def field_imports(modules: dict[str, Module]) -> list[str]:
    """Where a field imports another that it does not name, or names one that it does not use."""
    fields = {name for name, module in modules.items() if is_field(module)}
    used: dict[str, set[str]] = {name: set() for name in fields}
    for name, targets in import_graph(modules).items():
        folder = name.split(".")[0]
        used.get(folder, set()).update({target.split(".")[0] for target in targets} & fields - {folder})
    breaches = []
    for folder, others in sorted(used.items()):
        declared = built_on(folder, modules)
        for other in sorted(others ^ declared):
            said = "imports" if other in others else "does not import"
            names = tuple(sorted(others))
            breaches.append(f"forerun.{folder} {said} {other}: write __built_on__ = {names} in its __init__.py")
    return breaches


def is_field(module: Module) -> bool:
    field_shelf = DECLARED["shelves"].index("fields")
    return (
        module.is_package and module.name == module.folder and module.name != "" and shelf(module.name) == field_shelf
    )


# Third-party packages: each in the folders whose extras ask for it.


def distribution_name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def extra_distributions(extra: str) -> set[str]:
    requirements = PYPROJECT["project"]["optional-dependencies"][extra]
    return set(map(distribution_name, requirements)) - {"forerun"}


def core_distributions() -> set[str]:
    return set(map(distribution_name, PYPROJECT["project"]["dependencies"]))


@cache
def distributions() -> dict[str, set[str]]:
    """Name to import -> names to install; a package that is not installed is taken to have one name."""
    return {name: {distribution_name(other) for other in others} for name, others in packages_distributions().items()}


def installed_as(name: str) -> set[str]:
    return distributions().get(name, {distribution_name(name)})


def allowed_distributions(folder: str) -> set[str]:
    """What a folder may import: the core but for what only commands use, and what its extras ask for."""
    commands = set(DECLARED["commands"])
    core = core_distributions() - commands
    if not folder:
        return core
    extras = DECLARED["extras"].get(folder, [])
    if folder in PYPROJECT["project"]["optional-dependencies"]:
        extras = [*extras, folder]
    asked = set(chain.from_iterable(map(extra_distributions, extras)))
    return core | asked | (commands if folder in {"cli", "__main__"} else set())


def foreign_imports(modules: dict[str, Module]) -> list[str]:
    breaches = []
    for module in modules.values():
        allowed = allowed_distributions(module.folder)
        for name in sorted(third_party(module)):
            if not installed_as(name) & allowed:
                breaches.append(
                    f"{module.title} imports {name}, which no extra of forerun.{module.folder} asks for: add it to an "
                    f'extra called "{module.folder}" in pyproject.toml, or name the extra in [tool.forerun.extras]'
                )
    return breaches


def third_party(module: Module) -> set[str]:
    names = {name.split(".")[0] for name in imported_names(module, typing_too=False)}
    return names - sys.stdlib_module_names - {"forerun"}


def optional_modules() -> set[str]:
    """The names to import of everything that an extra or the command line asks for."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    optional = set(chain.from_iterable(map(extra_distributions, extras))) | set(DECLARED["commands"])
    optional -= core_distributions() - set(DECLARED["commands"])
    return {name for name, installed in distributions().items() if installed & optional}


# Budgets.


def long_files(modules: dict[str, Module], *, lines: int, method_lines: int) -> list[str]:
    breaches = []
    for module in modules.values():
        budget = method_lines if module.name.startswith("engine.methods.") else lines
        count = len(module.text.splitlines())
        if count > budget:
            breaches.append(f"{module.title} has {count} lines; the budget is {budget}: split it by noun")
    return breaches


def long_functions(modules: dict[str, Module], *, lines: int) -> list[str]:
    breaches = []
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, FUNCTIONS) and code_lines(node) > lines:
                count = code_lines(node)
                breaches.append(f"{module.title}.{node.name} has {count} lines; the budget is {lines}")
    return breaches


def code_lines(function: FUNCTIONS) -> int:
    """Lines from `def` to the end, less the docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function):
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


# Docstrings.


def undocumented(modules: dict[str, Module]) -> list[str]:
    """Modules, public classes and functions without a docstring; methods of abstract classes too."""
    breaches = []
    for module in modules.values():
        if not ast.get_docstring(module.tree):
            breaches.append(f"{module.title} has no docstring: one sentence that says what is in the file")
        for definition in public_definitions(module.tree.body):
            where = f"{module.title}.{definition.name}"
            if not ast.get_docstring(definition):
                breaches.append(f"{where} has no docstring")
            if isinstance(definition, ast.ClassDef) and "ABC" in base_names(definition):
                breaches += undocumented_methods(definition, where)
    return breaches


def public_definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | FUNCTIONS]:
    for node in body:
        if isinstance(node, ast.ClassDef | FUNCTIONS) and not node.name.startswith("_"):
            yield node


def is_abstract(definition: ast.ClassDef | FUNCTIONS) -> bool:
    """Whether a class says that it is abstract, or has a method that does."""
    if not isinstance(definition, ast.ClassDef):
        return False
    decorators = {ast.unparse(name) for node in definition.body for name in getattr(node, "decorator_list", [])}
    return "ABC" in base_names(definition) or "abstractmethod" in decorators


def undocumented_methods(definition: ast.ClassDef, where: str) -> list[str]:
    return [
        f"{where}.{method.name} has no docstring: a method is documented on the abstract class, and only there"
        for method in public_definitions(definition.body)
        if not ast.get_docstring(method)
    ]


# Classes, by what they are built on.


def class_definitions(modules: dict[str, Module]) -> Iterator[tuple[Module, ast.ClassDef]]:
    """Every class at the top of a module."""
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                yield module, node


def base_names(definition: ast.ClassDef) -> set[str]:
    """The names of a class's bases, without modules and type arguments."""
    return {ast.unparse(base).split("[")[0].split(".")[-1] for base in definition.bases}


def subclasses(name: str, modules: dict[str, Module]) -> dict[str, Module]:
    """The classes that can be made and are built on one of the engine's, however far: name -> module."""
    definitions = list(class_definitions(modules))
    family, concrete = {name}, {}
    grown = True
    while grown:
        children = [pair for pair in definitions if pair[1].name not in family and base_names(pair[1]) & family]
        grown = bool(children)
        for module, definition in children:
            family.add(definition.name)
            if not is_abstract(definition):
                concrete[definition.name] = module
    return dict(sorted(concrete.items()))


# What comes with a class or a field: pages, examples, tests.


def pages() -> dict[str, str]:
    """The hand-written pages of the documentation: name -> text."""
    return {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}


def examples() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted((ROOT / "examples").glob("*.py"))}


def exported_names(modules: dict[str, Module]) -> set[str]:
    """The names in the `__all__` of all packages."""
    names: set[str] = set()
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names.update(ast.literal_eval(node.value))
    return names


def unexplained(modules: dict[str, Module], texts: dict[str, str]) -> list[str]:
    """Methods, windows, guesses and tolerances for users that no page names."""
    words = set(re.findall(r"\w+", " ".join(texts.values())))
    breaches = []
    for base in ("Method", "Window", "Guess", "Tolerance", "Backend"):
        for name, module in subclasses(base, modules).items():
            if name in exported_names(modules) - words:
                breaches.append(
                    f"{base} {name} ({module.title}) is on no page of the documentation: say in docs/choosing.md, or "
                    "on the page of its field, when it is the one to take"
                )
    return breaches


def incomplete_fields(modules: dict[str, Module], texts: dict[str, str], programs: dict[str, str]) -> list[str]:
    """Fields without a page, an example or tests."""
    breaches = []
    for name in sorted(name for name, module in modules.items() if is_field(module)):
        where = f"forerun.{name}"
        if not any(where in text for text in texts.values()):
            breaches.append(f"{where} is on no page of the documentation: add docs/{name}.md")
        if not any(where in text for text in programs.values()):
            number = len(programs) + 1
            breaches.append(f"{where} is in no example: add examples/{number:02}_{name}.py, of less than 80 lines")
        if not list((ROOT / "tests" / name).glob("test_*.py")):
            breaches.append(f"{where} has no tests: add tests/{name}/test_{name}.py")
    return breaches
