"""`forerun text3d`: a solid in three dimensions from a prompt, its optimiser running ahead of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
import typer

from forerun.cli.kit import options as kit
from forerun.cli.kit.command_line import refuse_beside_resume
from forerun.cli.kit.machine import package_version, timing_facts
from forerun.cli.kit.output_files import make_folders, remove_checkpoint, write_summary
from forerun.cli.kit.stopping import RunInterrupted, end_interrupted, failing_in_one_line
from forerun.cli.kit.terminal import command_progress, refusing_input
from forerun.cli.text3d import options as own
from forerun.cli.text3d.options import DEFAULT_PROMPT, Text3dOptions, check_options
from forerun.engine.options import SolveOptions

TEXT3D_RESUME_PARAMETERS = {
    "out",
    "threads",
    "resume",
    "compare",
}  # parameters of a resumed run; its record has the others
CHECKPOINT_NAME = "text3d.checkpoint.safetensors"


def text3d(
    context: typer.Context,
    prompt: own.PromptArgument = DEFAULT_PROMPT,
    *,
    steps: own.StepsOption = 160,
    views: own.ViewsOption = 1,
    size: own.SizeOption = 32,
    guidance: own.GuidanceOption = 1.5,
    rate: own.RateOption = 0.2,
    seed: kit.SeedOption = kit.DEFAULT_SEED,
    tolerance: own.ToleranceOption = 0.5,
    method: kit.MethodOption = "picard",  # as of every optimiser loop
    window: kit.WindowOption = "8",
    threads: kit.ThreadsOption = kit.DEFAULT_THREADS,
    out: kit.OutOption = kit.DEFAULT_OUT,
    compare: kit.CompareOption = False,  # it would take as long again, and more
    resume: kit.ResumeOption = None,
) -> None:
    """Shape what a prompt says in three dimensions, by score distillation, in parallel over steps."""
    torch.set_num_threads(threads)
    with refusing_input():
        options = _read_options(context, resume)
        solve_options = check_options(options)
        make_folders(out)
    with _ending_in_one_line(out / CHECKPOINT_NAME):
        _make_solid(options, solve_options, out, resume, compare=compare)


def _read_options(context: typer.Context, resume: Path | None) -> Text3dOptions:
    if resume is None:
        return kit.gather_options(Text3dOptions, context.params)
    refuse_beside_resume(context, allowed=TEXT3D_RESUME_PARAMETERS)
    return Text3dOptions.load(resume)


def _make_solid(
    options: Text3dOptions, solve_options: SolveOptions, out: Path, resume: Path | None, *, compare: bool
) -> None:
    # diffusers takes seconds to import, which no refusal should wait for
    from forerun.cli.text3d import files, job, show

    machine = {**timing_facts(torch.device("cpu")), "diffusers": package_version("diffusers")}
    with refusing_input():
        sculpture = job.prepare_sculpture(options)
    show.show_begin(options, machine)
    checkpoints = job.Text3dCheckpoints(out / CHECKPOINT_NAME, resume)
    outcome = job.run_text3d(sculpture, options, solve_options, checkpoints, progress=command_progress())
    if compare:
        outcome = replace(outcome, in_order=job.run_in_order(sculpture, command_progress()))
    meshes, note = files.write_meshes(sculpture, out)
    names = [*files.write_pictures(sculpture, out), *meshes]
    figures = files.text3d_figures(outcome, names)
    write_summary(out, machine=machine, options=asdict(options), jobs=[figures])
    remove_checkpoint(checkpoints.path)
    show.show_figures(figures)
    show.show_end(names, out, note)


@contextmanager
def _ending_in_one_line(checkpoint: Path) -> Iterator[None]:
    """End the command with a line after Ctrl-C, and where a run fails."""
    try:
        with failing_in_one_line():
            yield
    except RunInterrupted as interrupted:
        _end_interrupted(interrupted.reached, checkpoint)
    except KeyboardInterrupt:
        _end_interrupted("Not all files are written.", checkpoint)


def _end_interrupted(reached: str, checkpoint: Path) -> None:
    if not checkpoint.is_file():
        end_interrupted(f". {reached}")
    end_interrupted(
        f". {reached} To go on:",
        f"forerun text3d --resume {checkpoint} --out {checkpoint.parent}",
    )
