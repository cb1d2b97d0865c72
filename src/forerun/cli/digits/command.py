"""`forerun digits`: handwritten digits drawn in order and ahead, compared."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import typer

from forerun.cli import words
from forerun.cli.digits.job import Interrupted, Job, Options, Settings, prepare, run
from forerun.cli.digits.records import Plan, Record, keep, write
from forerun.cli.digits.show import show_begin, show_digits, show_end, show_table
from forerun.cli.machine import environment
from forerun.cli.terminal import console, errors, refuse, refusing
from forerun.engine.progress import Bar, Silent
from forerun.engine.solution import NotConverged

STOPPED = 130  # what a shell expects after Ctrl-C
FREE = {"out", "threads", "resume"}  # options that a resumed run may be given; the others are in its plan


def digits(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the figures.")] = Path("forerun-out"),
    sampler: Annotated[str, typer.Option(help=f"{', '.join(words.SAMPLERS)}, or all.")] = "all",
    steps: Annotated[int | None, typer.Option(min=1, help="Of the sampler; 100 and 1000 unless given.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Digits to draw.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    tolerance: Annotated[float, typer.Option(help="How far from the sequential run: rms of a digit's pixels.")] = 1e-3,
    method: Annotated[str, typer.Option(help=f"{', '.join(words.METHODS)}.")] = "secant",
    window: Annotated[str, typer.Option(help=f"{', '.join(words.WINDOWS)}, or a number of steps.")] = "100",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint of an interrupted run, to go on from.")] = None,
) -> None:
    """Draw handwritten digits with the shipped denoiser, in order and ahead of order, and compare."""
    torch.set_num_threads(threads)
    with refusing():
        if find_spec("matplotlib") is None:
            raise ImportError("the pictures are drawn by matplotlib: pip install 'forerun[plot]'")
        if resume is None:
            options = Options(samples, seed, tolerance, method, window, device)
            plan = Plan(options, list(words.SAMPLERS) if sampler == "all" else [sampler], steps)
        else:
            _refuse_beside_resume(context)
            plan = Plan.load(resume)
        settings, jobs = Settings.of(plan.options), _jobs(plan)
        out.mkdir(parents=True, exist_ok=True)
    show_begin(plan.options, settings.device)
    records = _work(plan, jobs, settings, out)
    show_table([record.figures for record in records])
    write(out, environment(settings.device), plan.options, records)
    show_end([record.figures for record in records], out)


def _jobs(plan: Plan) -> list[Job]:
    if plan.steps is not None and len(plan.samplers) > 1:
        raise ValueError(f"--steps belongs to one sampler; add {' or '.join(f'--sampler {w}' for w in words.SAMPLERS)}")
    samplers = [words.choose(word, words.SAMPLERS | {}, "--sampler") for word in plan.samplers]
    return [prepare(sampler, plan.steps, plan.options) for sampler in samplers]


def _work(plan: Plan, jobs: list[Job], settings: Settings, out: Path) -> list[Record]:
    """The records of all jobs; Ctrl-C ends the command with a checkpoint and the line to go on."""
    records, resume = list(plan.finished), plan.resume
    progress = Bar(leave=False) if errors.is_terminal else Silent()
    for job in jobs:
        console.print(f"[bold]{job.name}[/bold]")
        try:
            with refusing():
                outcome = run(job, settings, progress=progress, resume=resume)
        except Interrupted as interrupted:
            _stop(interrupted, plan.pause(interrupted, records, out))
        except NotConverged as error:
            refuse(str(error), code=1)
        show_digits(outcome)
        records.append(keep(outcome, out))
        resume = None
    return records


def _stop(interrupted: Interrupted, path: Path) -> None:
    solution = interrupted.solution
    console.print(
        f"[yellow]Interrupted[/yellow] in {interrupted.job.name}: {solution.step} of {solution.length} steps are "
        f"accepted, after {solution.rounds} rounds. To go on:"
    )
    console.print(f"  forerun digits --resume {path} --out {path.parent}", soft_wrap=True)
    raise typer.Exit(STOPPED)


def _refuse_beside_resume(context: typer.Context) -> None:
    """An option that the plan of the interrupted run has already decided."""
    given = [
        name for name in context.params if name not in FREE and "COMMANDLINE" in str(context.get_parameter_source(name))
    ]
    if given:
        raise ValueError(f"--{given[0]} is told by the checkpoint that --resume names; leave it out")
