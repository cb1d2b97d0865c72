"""`forerun digits`: handwritten digits drawn in order and ahead, compared."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer

from forerun.cli import words
from forerun.cli.digits.files import record_outcome, write_files
from forerun.cli.digits.job import DigitsJob, DigitsOptions, DigitsOutcome, run_digits
from forerun.cli.digits.plan import DigitsPlan, DigitsRecord
from forerun.cli.digits.show import show_begin, show_end, show_outcome, show_table
from forerun.cli.kit import options as kit
from forerun.cli.kit.command_line import refuse_beside_resume
from forerun.cli.kit.machine import timing_facts
from forerun.cli.kit.output_files import make_folders
from forerun.cli.kit.stopping import FAILED_EXIT, RunInterrupted, end_interrupted
from forerun.cli.kit.terminal import command_progress, console, end_with_error, refusing_input
from forerun.engine.progress import Progress
from forerun.engine.solution import NotConverged

DIGITS_RESUME_PARAMETERS = {"out", "threads", "resume"}  # parameters of a resumed run; its plan has the others
ALL_SAMPLERS = "all"

SamplerOption = Annotated[str, typer.Option(help=f"{', '.join(words.DIGITS_SAMPLERS)}, or {ALL_SAMPLERS}.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps of the sampler; 100 and 1000 unless given.")]
SamplesOption = Annotated[int, typer.Option(min=1, help="Digits to draw.")]
ToleranceOption = Annotated[float, typer.Option(help="How far from the sequential run: rms of a digit's pixels.")]


def digits(
    context: typer.Context,
    *,
    sampler: SamplerOption = ALL_SAMPLERS,
    steps: StepsOption = None,
    samples: SamplesOption = 8,
    seed: kit.SeedOption = kit.DEFAULT_SEED,
    tolerance: ToleranceOption = 1e-3,
    method: kit.MethodOption = kit.DEFAULT_METHOD,
    window: kit.WindowOption = "100",
    device: kit.DeviceOption = kit.DEFAULT_DEVICE,
    threads: kit.ThreadsOption = kit.DEFAULT_THREADS,
    out: kit.OutOption = kit.DEFAULT_OUT,
    resume: kit.ResumeOption = None,
) -> None:
    """Draw handwritten digits with the shipped denoiser, in order and in parallel over steps, and compare."""
    torch.set_num_threads(threads)
    with refusing_input():
        _require_matplotlib()
        plan = _read_plan(context, resume)
        jobs = plan.prepare_jobs()
        make_folders(out)
    machine = timing_facts(jobs[0].state.device)
    show_begin(plan.options, machine)
    records = _run_jobs(plan, jobs, out)
    figures = [record.figures for record in records]
    show_table(figures)
    write_files(out, machine, plan.options, records)
    show_end(figures, out)


def _require_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise ImportError("the pictures are drawn by matplotlib: pip install 'forerun[plot]'")


def _read_plan(context: typer.Context, resume: Path | None) -> DigitsPlan:
    if resume is not None:
        refuse_beside_resume(context, allowed=DIGITS_RESUME_PARAMETERS)
        return DigitsPlan.load(resume)
    options = kit.gather_options(DigitsOptions, context.params)
    samplers = [context.params["sampler"]]
    if samplers == [ALL_SAMPLERS]:
        samplers = list(words.DIGITS_SAMPLERS)
    return DigitsPlan(options, samplers, context.params["steps"])


def _run_jobs(plan: DigitsPlan, jobs: list[DigitsJob], out: Path) -> list[DigitsRecord]:
    """Return the records of all jobs; Ctrl-C ends the command with a checkpoint and the line to go on."""
    records = list(plan.finished)
    resume = plan.resume
    progress = command_progress()
    for job in jobs:
        console.print(f"[bold]{job.name}[/bold]")
        try:
            outcome = _run_job(job, progress, resume)
        except RunInterrupted as interrupted:
            _pause(plan, job, interrupted, records, out)
        show_outcome(outcome)
        records.append(record_outcome(outcome, out))
        resume = None
    return records


def _run_job(job: DigitsJob, progress: Progress, resume: Path | None) -> DigitsOutcome:
    try:
        with refusing_input():
            return run_digits(job, progress=progress, resume=resume)
    except NotConverged as error:
        end_with_error(str(error), code=FAILED_EXIT)


def _pause(
    plan: DigitsPlan, job: DigitsJob, interrupted: RunInterrupted, records: list[DigitsRecord], out: Path
) -> NoReturn:
    """Write what an interrupted job has reached, and end the command with the line to go on."""
    assert interrupted.solution is not None
    path = out / f"{job.file_stem}.checkpoint.safetensors"
    plan.save(path, interrupted.solution.checkpoint, records)
    end_interrupted(
        f" in {job.name}: {interrupted.reached}. To go on:",
        f"forerun digits --resume {path} --out {out}",
    )
