"""How the source reads: names, words, density and complexity, held to what well-kept libraries reach.

`python benchmarks/_style.py` prints the figures and where they are not kept.
"""

import ast
from pathlib import Path

import _style
import pytest
from _style import SourceFile, StyleFigures

FIGURES = _style.measure_tree(_style.SOURCE)

# What may be reached at most; the figures of the models lie around these, and ours below.
MAX_ONE_WORD_FUNCTIONS = 35.0  # percent
MAX_GRAMMAR_WORDS = 0.3  # percent
MAX_TOKENS_A_LINE = 9.0
MAX_CONDITIONALS = 15.0  # in 1,000 lines
MAX_OFFENCES = {
    "class names in several places": 0,
    "constants in several modules": 0,
    "functions of a complexity over 10": 0,
    "functions of more than 40 lines": 0,
    "files of more than 300 lines": 0,
    "nested conditional expressions": 0,
    "banned words in messages and docstrings": 0,
}


def test_names_are_as_long_as_those_of_well_kept_libraries():
    assert FIGURES.one_word_functions <= MAX_ONE_WORD_FUNCTIONS


def test_variables_are_named_by_what_they_are():
    assert FIGURES.grammar_words <= MAX_GRAMMAR_WORDS, "\n".join(FIGURES.grammar_bindings[:40])


def test_lines_hold_one_thought():
    assert FIGURES.tokens_a_line <= MAX_TOKENS_A_LINE, "\n".join(FIGURES.dense_files)


def test_conditional_expressions_are_rare():
    assert FIGURES.conditionals_in_1000_lines <= MAX_CONDITIONALS


@pytest.mark.parametrize("kind", MAX_OFFENCES)
def test_what_is_kept_stays_so(kind):
    entries = _style.offences(FIGURES)[kind]
    assert len(entries) <= MAX_OFFENCES[kind], "\n" + "\n".join(entries)


# The figures are counted as they are meant.


def measured(text: str, name: str = "made_up.py") -> StyleFigures:
    figures = StyleFigures()
    _style.add_file(figures, SourceFile.from_text(text, Path(name)))
    return figures


def test_names_of_one_word_are_counted():
    figures = measured("def step(): ...\ndef _run(): ...\ndef take_step(): ...\ndef __len__(self): ...\nclass Run: ...")
    assert figures.functions == ["step", "_run", "take_step"]
    assert figures.one_word_functions == pytest.approx(200 / 3)
    assert figures.one_word_classes == 100
    assert _style.is_one_word("Run")
    assert not _style.is_one_word("RoundTiming")


def test_grammar_words_are_counted_where_they_are_bound():
    figures = measured("def f(found, inputs):\n    kept = found\n    return kept\n")
    assert figures.bindings.total() == 3
    assert figures.grammar_bindings == ["made_up.py:1 found", "made_up.py:2 kept"]


@pytest.mark.parametrize(
    "body, complexity",
    [
        ("return x", 1),
        ("return 1 if x else 2", 2),
        ("return [y for y in x if y if y > 1]", 4),
        ("return x and y and z", 3),
        ("if x:\n        return 1\n    for y in x:\n        pass", 3),
        ("def g():\n        return x or y\n    return g", 1),
    ],
)
def test_complexity_counts_what_hides_in_one_line(body, complexity):
    tree = ast.parse(f"def f(x):\n    {body}\n")
    assert _style.complexity_of(tree.body[0]) == complexity


def test_nested_conditional_expressions_are_found():
    assert measured("x = 1 if a else 2 if b else 3").nested_conditionals == ["made_up.py:1"]
    assert not measured("x = 1 if a else 2").nested_conditionals


def test_names_in_several_places_are_found():
    figures = measured("class Run: ...\nCHUNK = 2", "one.py")
    for add in ("class Run: ...", "CHUNK, WIDTH = 3, 4", "def f():\n    CHUNK = 2"):
        _style.add_file(figures, SourceFile.from_text(add, Path("two.py")))
    assert figures.repeated_classes == ["Run: one.py, two.py"]
    assert figures.repeated_constants == ["CHUNK: one.py, two.py"]


@pytest.mark.parametrize(
    "sentence, is_banned",
    [
        ("window must be a Window, got 8", False),
        ("8 is no Window", True),
        ("there is no noise to repeat", False),
        ("the network was trained anew", True),
        ("an error is told", True),
    ],
)
def test_banned_words_are_found(sentence, is_banned):
    assert bool(measured(f"raise ValueError({sentence!r})").banned_words) == is_banned
