"""`forerun sample`: the images of a prompt, in order and ahead of order, compared."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from forerun.cli import words
from forerun.cli.machine import environment, package
from forerun.cli.sample import ranks
from forerun.cli.sample.job import prepare
from forerun.cli.sample.options import PROMPT, Options, Settings
from forerun.cli.sample.records import figures, write_figures, write_images, write_report
from forerun.cli.sample.runs import Interrupted, Outcome, run
from forerun.cli.sample.show import show_begin, show_end, show_figures
from forerun.cli.terminal import console, errors, refuse, refusing
from forerun.diffusion.pipelines.calls import NotUnderstood
from forerun.engine.progress import Bar, Silent

STOPPED = 130  # what a shell expects after Ctrl-C
FAILED = 1


def sample(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="What to draw.", show_default=PROMPT)] = None,
    *,
    pipeline: Annotated[
        str | None,
        typer.Option(help="Folder or id of a pipeline of diffusers.", metavar="FOLDER_OR_ID", show_default="shipped"),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(words.SCHEDULERS)}, or a class of diffusers.", show_default="the pipeline's"),
    ] = None,
    steps: Annotated[int, typer.Option(help="Of the scheduler.")] = 50,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.", show_default="the pipeline's")] = None,
    negative: Annotated[str | None, typer.Option(help="What not to draw.")] = None,
    images: Annotated[int, typer.Option(help="Images of the prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    tolerance: Annotated[
        float | None,
        typer.Option(help="How far from the run in order: rms, in units of the samples.", show_default="1e-3"),
    ] = None,
    method: Annotated[str, typer.Option(help=f"{', '.join(words.METHODS)}.")] = "secant",
    window: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(words.WINDOWS)}, or a number.", show_default="auto with --pipeline, else full"),
    ] = None,
    max_batch: Annotated[int | None, typer.Option(help="Steps in one call of the network, at most.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help=f"{', '.join(words.DTYPES)}.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the images and the figures.")] = Path("forerun-out"),
    report: Annotated[Path | None, typer.Option(help="Write a page of the run, one HTML file.")] = None,
    compare: Annotated[bool, typer.Option(help="Run it in order too.")] = True,
    strict: Annotated[bool, typer.Option(help="Fail rather than run in order what is not understood.")] = False,
) -> None:
    """Draw what a prompt says, ahead of order, and compare with the pipeline's own run."""
    torch.set_num_threads(threads)
    ranks.hush()
    with refusing():
        usual = "full" if pipeline is None else "auto"
        options = Options.of({**context.params, "window": window or usual, "device": ranks.place(device)})
        settings = Settings.of(options, ranks.count())
        for folder in (out, *([report.parent] if report else [])):
            folder.mkdir(parents=True, exist_ok=True)
    with ranks.together(settings.device) as first, _stopping():
        outcome = _run(options, settings, compare=compare)
        if first:
            _keep(outcome, options, settings, Files(out, report, _again(context)))


@dataclass(frozen=True)
class Files:
    """Where to write, and the line that would write it again."""

    out: Path
    report: Path | None
    command: str


def _run(options: Options, settings: Settings, *, compare: bool) -> Outcome:
    with refusing():
        job = prepare(options, settings)
    show_begin(job, options, settings.device)
    outcome = run(job, options, settings, compare=compare, progress=Bar(leave=False) if _watched() else Silent())
    ranks.agree([outcome.ahead.sample, *outcome.ahead.pictures], settings.device)
    return outcome


def _keep(outcome: Outcome, options: Options, settings: Settings, files: Files) -> None:
    machine = {**environment(settings.device), "diffusers": package("diffusers")}
    names = write_images(outcome, files.out)
    found = figures(outcome, names)
    write_figures(found, machine, options, files.out)
    show_figures(found, options.window)
    moving = files.report is None or write_report(outcome, machine, files.command, files.report)
    show_end(names, files.out, files.report, moving=moving)


def _watched() -> bool:
    return errors.is_terminal and not errors.quiet


@contextmanager
def _stopping() -> Iterator[None]:
    """Ctrl-C, and what goes wrong in a run, end the command with a line."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        console.print(f"[yellow]Interrupted[/yellow] {stopped}".rstrip() + ". Nothing was written.", soft_wrap=True)
        raise typer.Exit(STOPPED) from None
    except (NotUnderstood, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, typer.Exit):
            raise
        refuse(str(error), code=FAILED)


def _again(context: typer.Context) -> str:
    """The line that repeats this run: with all that was given."""
    given = [name for name in context.params if "COMMANDLINE" in str(context.get_parameter_source(name))]
    parts = ["forerun", "sample"]
    if ranks.count() > 1:
        parts = ["torchrun", f"--nproc-per-node={ranks.count()}", "-m", *parts]
    if "prompt" in given:
        parts.append(context.params["prompt"])
    for name in given:
        value, option = context.params[name], name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{option}" if value else f"--no-{option}")
        elif name != "prompt":
            parts += [f"--{option}", str(value)]
    return shlex.join(parts)
