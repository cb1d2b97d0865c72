"""`forerun text3d`: a thing in three dimensions from a prompt, its optimiser running ahead of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from forerun.cli import words
from forerun.cli.machine import environment, package
from forerun.cli.terminal import errors, refuse, refusing
from forerun.cli.text3d.options import PROMPT, Options, Settings, beside
from forerun.engine.progress import Bar, Progress, Silent

STOPPED, FAILED = 130, 1  # 130 is what a shell expects after Ctrl-C
FREE = {"out", "threads", "resume", "compare"}  # options that a resumed run may be given
CHECKPOINT = "text3d.checkpoint.safetensors"


def text3d(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="A colour and a shape.")] = PROMPT,
    *,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser.")] = 160,
    views: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 1,
    size: Annotated[int, typer.Option(help="Voxels along a side.")] = 32,
    guidance: Annotated[float, typer.Option(help="Of the prior; 4 and more over-saturates.")] = 1.5,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of cameras and noise.")] = 0,
    method: Annotated[str, typer.Option(help=f"{', '.join(words.METHODS)}.")] = "picard",
    window: Annotated[str, typer.Option(help=f"{', '.join(words.WINDOWS)}, or a number of steps.")] = "8",
    tolerance: Annotated[float, typer.Option(help="How far a step may still move, in lengths of a step.")] = 0.5,
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for pictures, mesh and figures.")] = Path("forerun-out"),
    compare: Annotated[bool, typer.Option(help="Run it in order too.")] = False,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint of an interrupted run, to go on from.")] = None,
) -> None:
    """Shape what a prompt says in three dimensions, by score distillation, ahead of order."""
    torch.set_num_threads(threads)
    with refusing():
        if resume is not None:
            _refuse_beside_resume(context)
        options = Options.of(context.params) if resume is None else Options.load(resume)
        settings = Settings.of(options)
        out.mkdir(parents=True, exist_ok=True)
    with _stopping(out / CHECKPOINT):
        _make(options, settings, out, resume, compare=compare)


def _make(options: Options, settings: Settings, out: Path, resume: Path | None, *, compare: bool) -> None:
    # diffusers takes seconds to import, which no refusal should wait for
    from forerun.cli.text3d import job, records, show

    machine = {**environment(torch.device("cpu")), "diffusers": package("diffusers")}
    with refusing():
        sculpture = job.prepare(options)
    show.show_begin(options, machine)
    files = job.Files(out / CHECKPOINT, resume)
    outcome = job.run(sculpture, options, settings, files, progress=_progress())
    if compare:
        outcome = replace(outcome, order=job.in_order(sculpture, _progress()))
    meshes, note = records.write_meshes(sculpture, out)
    names = [*records.write_pictures(sculpture, out), *meshes]
    found = records.figures(outcome, names)
    records.write_figures(found, machine, options, out)
    for path in (files.checkpoint, beside(files.checkpoint)):
        path.unlink(missing_ok=True)
    show.show_figures(found)
    show.show_end(names, out, note)


@contextmanager
def _stopping(checkpoint: Path) -> Iterator[None]:
    """Ctrl-C, and what goes wrong in a run, end the command with a line."""
    from forerun.cli.text3d import job, show

    try:
        yield
    except job.Interrupted as stopped:
        show.show_stop(f"{stopped.step} of {stopped.length} steps are accepted.", checkpoint)
        raise typer.Exit(STOPPED) from None
    except KeyboardInterrupt:
        show.show_stop("Not all files are written.", checkpoint)
        raise typer.Exit(STOPPED) from None
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, typer.Exit):
            raise
        refuse(str(error), code=FAILED)


def _progress() -> Progress:
    return Bar(leave=False) if errors.is_terminal and not errors.quiet else Silent()


def _refuse_beside_resume(context: typer.Context) -> None:
    """An option that the interrupted run has already decided."""
    given = [
        name for name in context.params if name not in FREE and "COMMANDLINE" in str(context.get_parameter_source(name))
    ]
    if given:
        said = "the prompt" if given[0] == "prompt" else f"--{given[0]}"
        raise ValueError(f"{said} is told by the checkpoint that --resume names; leave it out")
