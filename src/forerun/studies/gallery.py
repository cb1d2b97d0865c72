"""The gallery of studies: one card and one page each, made from the study's own file and its saved result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from forerun.studies.discovery import StudyEntry
from forerun.studies.results import StudyResult, load_result
from forerun.studies.stored_images import IMAGE_PREFIX

HEAD = """\
# Studies

<!-- Written by `python -m forerun.studies docs/studies --pages` from the studies and their results. -->

Every published system that forerun was built from, run on a reference problem and held against what was claimed. A
claim that does not hold is a result too. `forerun study` lists them, `forerun study NAME` runs one in seconds, and
`--full` in minutes, as the results here were.
"""


def write_gallery(studies: Mapping[str, StudyEntry], folder: Path) -> list[Path]:
    """Write the index and the pages of all studies; returns their paths.

    Args:
        studies: by name.
        folder: with `results/` and `pictures/` in it.
    """
    paths = []
    for name, text in gallery_pages(studies, folder):
        paths.append(folder / name)
        paths[-1].write_text(text)
    return paths


def gallery_pages(studies: Mapping[str, StudyEntry], folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every page."""
    results = {name: load_result(name, folder / "results") for name in studies}
    yield "index.md", index_page(list(studies.values()), results)
    for name, entry in studies.items():
        yield f"{name}.md", study_page(entry, results[name])


def index_page(entries: Sequence[StudyEntry], results: Mapping[str, StudyResult | None]) -> str:
    """Return the page with a card for every study, by group."""
    by_group = sorted(entries, key=lambda entry: (entry.group, entry.study.number))
    lines = [HEAD]
    for group, members in groupby(by_group, key=lambda entry: entry.group):
        lines += [f"## {group}", "", '<div class="grid cards" markdown>', ""]
        for entry in members:
            lines += [*_card(entry, results[entry.name]), ""]
        lines += ["</div>", ""]
    return "\n".join(lines)


def _card(entry: StudyEntry, result: StudyResult | None) -> list[str]:
    name, study = entry.name, entry.study
    card = [f"-   **[{study.title}]({name}.md)**", "", "    ---", ""]
    if result is None:
        return [*card, "    *Not run yet.*"]
    card += [f"    [![{study.title}](pictures/{name}.png)]({name}.md)", "", f"    {result.engine}", ""]
    return [*card, f"    *{result.summary.capitalize()}; run in {_minutes(result)}.*"]


def study_page(entry: StudyEntry, result: StudyResult | None) -> str:
    """Return the page of one study."""
    study = entry.study
    command = f"forerun study {entry.name} --full"
    lines = [
        f"# {study.title}",
        "",
        f"*{study.paper}*",
        "",
        f"Number {study.number}, [{entry.group}](index.md#{entry.group}): `{command}`",
        "",
    ]
    if result is None:
        return "\n".join([*lines, "Not run yet.", ""])
    lines += [f"![{study.title}](pictures/{entry.name}.png)", "", "## Claims", "", *_claims(result), ""]
    lines += ["## What running ahead adds", "", result.engine, ""]
    lines += ["## What is not the paper's setting", "", result.deviates, ""]
    lines += ["## The run", "", *_environment(result), ""]
    lines += ["<details markdown>", "<summary>All figures</summary>", "", *_figures(result), "", "</details>", ""]
    return "\n".join(lines)


def _claims(result: StudyResult) -> Iterator[str]:
    yield "| claim | paper | here | holds |"
    yield "|---|---|---|---|"
    for verdict in result.verdicts:
        holds = "yes" if verdict.holds else "**no**"
        yield f"| {verdict.claim} | {verdict.paper} | {verdict.here} | {holds} |"


def _environment(result: StudyResult) -> Iterator[str]:
    yield f"In {result.scale}, in {_minutes(result)}:"
    yield ""
    for name, value in result.environment.items():
        yield f"- {name}: {value}"


def _figures(result: StudyResult) -> Iterator[str]:
    yield "| figure | value |"
    yield "|---|--:|"
    for name, value in result.figures.items():
        if not name.startswith(IMAGE_PREFIX):
            yield f"| {name} | {format_figure(value)} |"


def format_figure(value: float | str) -> str:
    """Return a figure with at most four digits; a string as it is."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _minutes(result: StudyResult) -> str:
    return "less than a minute" if result.minutes < 1 else f"{result.minutes:.0f} minutes"
