"""Every scheduler and every pipeline family of diffusers, by itself and in parallel: how far apart, and why not.

Writes docs/conformance.md besides its result. Networks are tiny and random, so rounds tell little here: a random
network changes from step to step as no trained one does. What counts is that the samples are the same.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import diffusers
import torch
from harness import ROOT, environment, table, write_result

import forerun
from forerun.diffusion import sample

sys.path.insert(0, str(ROOT / "tests"))

from diffusion import pipeline_matrix, scheduler_matrix
from diffusion.scheduler_matrix import Cell
from diffusion.zoo.catalogue import ENTRIES, LEFT_OUT
from diffusion.zoo.entry import Entry

STEPS = 10
NO_STEP = {"score-sde-ve": "its scheduler has no step; refused with the reason"}
PAGE = ROOT / "docs" / "conformance.md"
INTRODUCTION = """\
# Conformance

Every scheduler class that diffusers exports and every pipeline family of our zoo, run by itself and in parallel
with the same seed. Made by `python benchmarks/every_pipeline_gives_its_own_sample.py`; the same matrix runs in the
tests. The networks are tiny and random, as in diffusers' own tests, so the rounds here say little about yours.
"""
SCHEDULERS = """\
## Schedulers

Largest element of the difference over the largest of the sample, for 10 and 50 steps: of our steps in order (rounding
alone), and of the run in parallel ("ahead") to a tolerance of 1e-4. Prediction types that a class refuses by itself
are left out.
"""
PIPELINES = f"""\
## Pipelines

Root mean square of the difference over that of the output, {STEPS} steps: guided; without guidance; three prompts; two
images a prompt, all in float32 to a tolerance of 1e-4; and bfloat16 to its own precision, with what the pipeline
itself loses by bfloat16 after the slash. A dash: the family has no such option.
"""


def main() -> None:
    """Run both matrices, write the result and the page."""
    diffusers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    covered = table(list(scheduler_rows()))
    entries = list(pipeline_rows(ENTRIES))
    families = table(entries)
    reasons = [*scheduler_matrix.NOT_COVERED.items(), *scheduler_matrix.SHORT.items()]
    listed = {
        "Schedulers": covered,
        "Schedulers that are not covered": _list_items(reasons),
        "Pipelines": families,
        "Pipelines that run in order, with a warning": _list_items(
            [*pipeline_matrix.IN_ORDER.items(), *NO_STEP.items()]
        ),
        "Not in the zoo": _list_items(LEFT_OUT.items()),
    }
    write_result(Path(__file__).stem, listed)
    _write_page(listed)


def scheduler_rows() -> Iterable[dict[str, str]]:
    """One row a class and prediction."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in scheduler_matrix.cells():
        name = cell.name.removesuffix("Scheduler")
        row = rows.setdefault((name, cell.prediction or "its own"), {})
        in_order, ahead, rounds, steps = _run_scheduler(cell)
        row[f"{cell.steps} in order"] = f"{in_order:.0e}"
        row[f"{cell.steps} ahead"] = f"{ahead:.0e}"
        row[f"{cell.steps} rounds"] = f"{rounds} of {steps}"
    columns = [f"{steps} {figure}" for steps in scheduler_matrix.STEPS for figure in ("in order", "ahead", "rounds")]
    for (name, prediction), row in rows.items():
        yield {"scheduler": name, "prediction": prediction, **{column: row.get(column, "-") for column in columns}}


def _run_scheduler(cell: Cell) -> tuple[float, float, int, int]:
    noise, network = scheduler_matrix.start(), scheduler_matrix.network
    expected = scheduler_matrix.own_loop(cell, noise)
    size = float(expected.abs().max())
    runs = []
    for options in ({"method": forerun.Sequential()}, {"window": forerun.Full(), "tolerance": 1e-4}):
        generator = torch.Generator().manual_seed(5)
        runs.append(sample(network, cell.scheduler(), noise, generator=generator, **options))
    errors = [float((run.state - expected).abs().max()) / size for run in runs]
    return errors[0], errors[1], runs[1].rounds, runs[0].rounds


def pipeline_rows(entries: Sequence[Entry]) -> Iterable[dict[str, str]]:
    """One row a family."""
    for entry in entries:
        if entry.name in NO_STEP:
            continue
        row = {"family": entry.name, "class": type(entry.build()).__name__}
        for case in pipeline_matrix.CASES:
            row[_name_column(case)] = _describe_case(entry, case)
        yield row


def _describe_case(entry: Entry, case: pipeline_matrix.Case) -> str:
    if not pipeline_matrix.applies(entry, case):
        return "-"
    half = case.dtype == torch.bfloat16
    row = pipeline_matrix.compare(entry, case, steps=STEPS, tolerance=None if half else 1e-4)
    return f"{row.deviation:.0e}" + (f" / {row.rounding:.0e}" if half else "")


def _name_column(case: pipeline_matrix.Case) -> str:
    if case.dtype == torch.bfloat16:
        return "bfloat16"
    if case.batch > 1:
        return f"{case.batch} prompts"
    if case.images > 1:
        return f"{case.images} images"
    return "guided" if case.guidance else "plain"


def _list_items(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- `{name}`: {reason}" for name, reason in items)


def _write_page(parts: dict[str, str]) -> None:
    facts = environment()
    versions = f"diffusers {diffusers.__version__}, {facts['versions']}, {facts['device']}, {facts['date']}."
    text = [INTRODUCTION, versions + "\n", SCHEDULERS, parts.pop("Schedulers"), "", PIPELINES, parts.pop("Pipelines")]
    for heading, body in parts.items():
        text += ["", f"## {heading}", "", body]
    PAGE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
