"""How the source reads, in figures: `python benchmarks/_style.py` for the package, or `... src/forerun/engine`.

The figures are those that well-kept libraries were compared by: how many names are one word, how many variables are
grammar words, whether a class name means one thing, tokens a line, conditional expressions and comprehensions,
complexity and length. `tests/test_style.py` holds the package to them; this prints them, and where they are not kept.

Complexity counts branches, loops, handlers, conditional expressions, comprehensions with their conditions, and every
`and` and `or`. A line counts where it holds code; so do its names, numbers and operators as tokens.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "forerun"

WORDS_OF_GRAMMAR = (
    "also apart asked begun beyond came drawn each entered few following found given grown held here how joined kept "
    "known least made many most moved now once own part placed rest said seen solved still taken there told tried "
    "wanted what which whole written"
)
GRAMMAR_WORDS = frozenset(WORDS_OF_GRAMMAR.split())
# Read by an engineer who has never seen the project: what a sentence in a message or a docstring does not say.
BANNED_WORDS = {
    r"\banew\b": "again",
    r"\btold\b": "reported, or what is meant",
    r"(?<!there )(?<!There )\bis no\b(?! (longer|more))": "must be a Window, got 8",
}

MAX_COMPLEXITY = 10
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_FILE_DENSITY = 9.0
MIN_DENSE_LINES = 30  # a shorter file may be dense: it is a table, or a list of imports

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp)


@dataclass(frozen=True)
class SourceFile:
    """One file: its text, its tree and the tokens of each line that holds code."""

    path: Path
    text: str
    tree: ast.Module
    tokens: Counter[int]

    @classmethod
    def from_path(cls, path: Path) -> SourceFile:
        """Read a file."""
        return cls.from_text(path.read_text(), path)

    @classmethod
    def from_text(cls, text: str, path: Path) -> SourceFile:
        """Take a text for that of a file."""
        kinds = (tokenize.NAME, tokenize.OP, tokenize.NUMBER)
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        counts = Counter(token.start[0] for token in tokens if token.type in kinds)
        return cls(path, text, ast.parse(text), counts)

    @property
    def title(self) -> str:
        """The path from the root of the repository, where it is inside."""
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else str(self.path)

    @property
    def density(self) -> float:
        """Tokens of a line, on average."""
        return self.tokens.total() / max(len(self.tokens), 1)


@dataclass
class StyleFigures:
    """What is counted over all files of a tree; every list holds one line an offender."""

    functions: list[str] = field(default_factory=list)
    classes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    constants: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    bindings: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    complexities: list[int] = field(default_factory=list)
    lines: int = 0
    tokens: int = 0
    conditionals: int = 0
    comprehensions: int = 0
    complex_functions: list[str] = field(default_factory=list)
    long_functions: list[str] = field(default_factory=list)
    long_files: list[str] = field(default_factory=list)
    dense_files: list[str] = field(default_factory=list)
    nested_conditionals: list[str] = field(default_factory=list)
    grammar_bindings: list[str] = field(default_factory=list)
    banned_words: list[str] = field(default_factory=list)

    @property
    def one_word_functions(self) -> float:
        """Percent of the functions whose name is one word."""
        return percent(sum(map(is_one_word, self.functions)), len(self.functions))

    @property
    def one_word_classes(self) -> float:
        """Percent of the classes whose name is one word."""
        names = [name for name, places in self.classes.items() for _ in places]
        return percent(sum(map(is_one_word, names)), len(names))

    @property
    def grammar_words(self) -> float:
        """Percent of the variables and arguments whose name is a grammar word."""
        return percent(sum(self.bindings[word] for word in GRAMMAR_WORDS), self.bindings.total())

    @property
    def tokens_a_line(self) -> float:
        """Tokens of a line of code, on average."""
        return self.tokens / max(self.lines, 1)

    @property
    def conditionals_in_1000_lines(self) -> float:
        """Conditional expressions in a thousand lines of code."""
        return 1000 * self.conditionals / max(self.lines, 1)

    @property
    def comprehensions_in_1000_lines(self) -> float:
        """Comprehensions in a thousand lines of code."""
        return 1000 * self.comprehensions / max(self.lines, 1)

    @property
    def repeated_classes(self) -> list[str]:
        """Class names that stand in several places."""
        return repeated(self.classes)

    @property
    def repeated_constants(self) -> list[str]:
        """Module constants whose name stands in several modules; the `STUDY` of a study is found by that name."""
        return repeated({name: files for name, files in self.constants.items() if name != "STUDY"})


def measure_tree(root: Path) -> StyleFigures:
    """Measure all Python files below a folder."""
    figures = StyleFigures()
    for path in sorted(root.rglob("*.py")):
        add_file(figures, SourceFile.from_path(path))
    return figures


def add_file(figures: StyleFigures, file: SourceFile) -> None:
    """Count one file."""
    figures.lines += len(file.tokens)
    figures.tokens += file.tokens.total()
    if len(file.tokens) > MIN_DENSE_LINES and file.density > MAX_FILE_DENSITY:
        figures.dense_files.append(f"{file.title}: {file.density:.1f} tokens a line")
    count = len(file.text.splitlines())
    if count > MAX_FILE_LINES:
        figures.long_files.append(f"{file.title}: {count} lines")
    for name in constant_names(file.tree):
        figures.constants[name].append(file.title)
    for node in ast.walk(file.tree):
        add_node(figures, file, node)


def add_node(figures: StyleFigures, file: SourceFile, node: ast.AST) -> None:
    """Count one node of a file's tree."""
    if isinstance(node, FUNCTIONS):
        add_function(figures, file, node)
    elif isinstance(node, ast.ClassDef):
        figures.classes[node.name].append(file.title)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        add_binding(figures, file, node.id, node.lineno)
    elif isinstance(node, ast.arg):
        add_binding(figures, file, node.arg, node.lineno)
    elif isinstance(node, ast.IfExp):
        figures.conditionals += 1
        if is_nested(node):
            figures.nested_conditionals.append(f"{file.title}:{node.lineno}")
    elif isinstance(node, COMPREHENSIONS):
        figures.comprehensions += 1
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        add_sentence(figures, file, node)


def add_function(figures: StyleFigures, file: SourceFile, function: Function) -> None:
    """Count one function, without what it says in its docstring."""
    where = f"{file.title}:{function.lineno} {function.name}"
    if not function.name.startswith("__"):
        figures.functions.append(function.name)
    figures.lengths.append(length_of(function))
    figures.complexities.append(complexity_of(function))
    if figures.lengths[-1] > MAX_FUNCTION_LINES:
        figures.long_functions.append(f"{where}: {figures.lengths[-1]} lines")
    if figures.complexities[-1] > MAX_COMPLEXITY:
        figures.complex_functions.append(f"{where}: {figures.complexities[-1]}")


def add_binding(figures: StyleFigures, file: SourceFile, name: str, line: int) -> None:
    """Count one variable or argument."""
    figures.bindings[name] += 1
    if name in GRAMMAR_WORDS:
        figures.grammar_bindings.append(f"{file.title}:{line} {name}")


def add_sentence(figures: StyleFigures, file: SourceFile, constant: ast.Constant) -> None:
    """Look for banned words in a string, which may be a message or a docstring."""
    for pattern, better in BANNED_WORDS.items():
        match = re.search(pattern, str(constant.value))
        if match:
            figures.banned_words.append(f"{file.title}:{constant.lineno} {match[0]!r}: say {better!r}")


def complexity_of(function: Function) -> int:
    """Return one more than the decisions of a function, without those of functions inside it."""
    total, stack = 1, list(ast.iter_child_nodes(function))
    while stack:
        node = stack.pop()
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            total += decisions_of(node)
            stack.extend(ast.iter_child_nodes(node))
    return total


def decisions_of(node: ast.AST) -> int:
    """Return the decisions that a node adds by itself."""
    if isinstance(node, BRANCHES):
        return 1
    if isinstance(node, COMPREHENSIONS):
        return sum(1 + len(generator.ifs) for generator in node.generators)
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return 0


def length_of(function: Function) -> int:
    """Return the lines of a function, without its docstring."""
    count = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        count -= docstring.end_lineno - docstring.lineno + 1
    return count


def constant_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names in capitals that a module binds at its top."""
    for node in tree.body:
        targets = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for name in names_in(targets):
            if name.isupper() and len(name) > 1:  # a single letter is a type variable
                yield name


def names_in(targets: Sequence[ast.expr]) -> Iterator[str]:
    """Yield the names that an assignment binds."""
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id


def is_nested(conditional: ast.IfExp) -> bool:
    """Whether a conditional expression holds another."""
    return any(isinstance(node, ast.IfExp) for node in ast.walk(conditional) if node is not conditional)


def is_one_word(name: str) -> bool:
    """Whether a name is a single word, in snake or in camel case."""
    bare = name.strip("_")
    return "_" not in bare and sum(map(str.isupper, bare)) <= 1


def percent(count: int, total: int) -> float:
    """Return a share in percent."""
    return 100 * count / max(total, 1)


def repeated(places: dict[str, list[str]]) -> list[str]:
    """Return the names that stand in several places, each with where it stands."""
    return [f"{name}: {', '.join(files)}" for name, files in sorted(places.items()) if len(files) > 1]


def report(figures: StyleFigures, *, offenders: int = 12) -> str:
    """Return the figures as lines of text, with the first few offenders of each kind."""
    lengths = sorted(figures.lengths) or [0]
    complexities = figures.complexities or [0]
    lines = [
        f"functions named by one word        {figures.one_word_functions:6.1f} %",
        f"classes named by one word          {figures.one_word_classes:6.1f} %",
        f"grammar words among variables      {figures.grammar_words:6.2f} %",
        f"tokens a line                      {figures.tokens_a_line:6.2f}",
        f"conditionals in 1,000 lines        {figures.conditionals_in_1000_lines:6.1f}",
        f"comprehensions in 1,000 lines      {figures.comprehensions_in_1000_lines:6.1f}",
        f"function length, median / 90 %     {statistics.median(lengths):6.0f} / {lengths[int(0.9 * len(lengths))]}",
        f"complexity, mean / largest         {statistics.mean(complexities):6.1f} / {max(complexities)}",
    ]
    for title, entries in offences(figures).items():
        lines.append(f"{title}: {len(entries)}")
        lines += [f"    {entry}" for entry in entries[:offenders]]
    return "\n".join(lines)


def offences(figures: StyleFigures) -> dict[str, list[str]]:
    """Return what is not kept, by kind."""
    return {
        "class names in several places": figures.repeated_classes,
        "constants in several modules": figures.repeated_constants,
        f"functions of a complexity over {MAX_COMPLEXITY}": figures.complex_functions,
        f"functions of more than {MAX_FUNCTION_LINES} lines": figures.long_functions,
        f"files of more than {MAX_FILE_LINES} lines": figures.long_files,
        f"files of more than {MAX_FILE_DENSITY:g} tokens a line": figures.dense_files,
        "nested conditional expressions": figures.nested_conditionals,
        "variables that are grammar words": figures.grammar_bindings,
        "banned words in messages and docstrings": figures.banned_words,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    print(report(measure_tree(folder.resolve())))
