"""`forerun study`: published systems, run on a reference problem and held against what was claimed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from forerun.cli.kit.terminal import console, refusing_input
from forerun.studies import Scale, StudyEntry, StudyResult, find_studies, load_result, run_study
from forerun.studies.gallery import study_page
from forerun.studies.results import save_result


def study(
    name: Annotated[str | None, typer.Argument(help="Of a study; without one, all are listed.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Minutes instead of seconds, as the published results.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for the picture, the figures and the page.")] = None,
) -> None:
    """Run a published system on a reference problem, and hold what comes out against what was claimed."""
    studies = find_studies()
    if name is None:
        console.print(list_studies(studies))
        return
    with refusing_input():
        entry = find_entry(studies, name)
    scale: Scale = "full" if full else "quick"
    console.print(f"[bold]{entry.study.title}[/bold]\n{entry.study.paper}\n")
    result = run_study(entry, scale)
    console.print(claims_table(result))
    console.print(f"{result.summary.capitalize()}, in {result.minutes:.1f} minutes. {result.engine}")
    if out is not None:
        for path in write_study(entry, result, out):
            console.print(f"wrote {path}", style="dim")


def find_entry(studies: Mapping[str, StudyEntry], name: str) -> StudyEntry:
    """Return a study by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name in studies:
        return studies[name]
    close = get_close_matches(name, studies, n=1)
    advice = f"did you mean {close[0]}?" if close else "type `forerun study` to see all"
    raise ValueError(f"there is no study called {name}; {advice}")


def list_studies(studies: Mapping[str, StudyEntry]) -> Table:
    """Return a table of all studies, with what their committed results say."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="")
    table.add_column("", justify="right")
    for heading in ("study", "group", "about", "verdict"):
        table.add_column(heading)
    for name, entry in studies.items():
        result = load_result(name)
        verdict = "not run yet" if result is None else result.summary
        table.add_row(str(entry.study.number), f"[bold]{name}[/bold]", entry.group, entry.study.title, verdict)
    return table


def claims_table(result: StudyResult) -> Table:
    """Return a table of claims: what the paper gives, what came out, whether it holds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="")
    for heading in ("claim", "paper", "here"):
        table.add_column(heading, overflow="fold")
    table.add_column("holds")
    for verdict in result.verdicts:
        holds = "[green]yes[/green]" if verdict.holds else "[yellow]no[/yellow]"
        table.add_row(verdict.claim, verdict.paper, verdict.here, holds)
    return table


def write_study(entry: StudyEntry, result: StudyResult, folder: Path) -> list[Path]:
    """Write picture, figures and page of a run into a folder, as the gallery has them."""
    paths = save_result(entry, result, folder)
    page = folder / f"{entry.name}.md"
    page.write_text(study_page(entry, result))
    return [*paths, page]
