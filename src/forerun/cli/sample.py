"""`forerun sample`: handwritten digits drawn in order and ahead, compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from forerun.cli import words
from forerun.cli.job import Interrupted, Job, Options, Settings, prepare, run
from forerun.cli.machine import environment
from forerun.cli.records import Record, load_pause, save_pause, write_summary
from forerun.cli.show import show_begin, show_digits, show_end, show_table
from forerun.cli.terminal import console, errors, refuse, refusing
from forerun.engine.progress import Bar, Silent
from forerun.engine.solution import NotConverged

DECIDED = ("sampler", "steps", "samples", "seed", "tolerance", "method", "window", "device")  # by a checkpoint, too


def sample(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the figures.")] = Path("forerun-out"),
    *,
    sampler: Annotated[str, typer.Option(help=f"{', '.join(words.SAMPLERS)}, or all of them.")] = "all",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler.", show_default="its usual")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Digits to draw.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    tolerance: Annotated[float, typer.Option(help="How far from the sequential run, rms of a digit's pixels.")] = 1e-3,
    method: Annotated[str, typer.Option(help=f"{', '.join(words.METHODS)}.")] = "secant",
    window: Annotated[str, typer.Option(help=f"{', '.join(words.WINDOWS)}, or a number of steps.")] = "100",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint of an interrupted run, to go on from.")] = None,
) -> None:
    """Draw handwritten digits with the shipped denoiser, in order and ahead of order, and compare."""
    torch.set_num_threads(threads)
    options = Options(samples, seed, tolerance, method, window, device)
    names, finished = list(words.SAMPLERS) if sampler == "all" else [sampler], []
    with refusing():
        if find_spec("matplotlib") is None:
            raise ImportError("the pictures are drawn by matplotlib: pip install 'forerun[plot]'")
        if steps is not None and sampler == "all":
            raise ValueError("--steps belongs to one sampler; add --sampler ddim or --sampler ddpm")
        if resume is not None:
            _refuse_beside_resume(context)
            options, names, steps, finished = load_pause(resume)
        settings = Settings.of(options)
        jobs = [prepare(words.choose(name, words.SAMPLERS, "--sampler"), steps, options) for name in names]
        out.mkdir(parents=True, exist_ok=True)
    show_begin(options, settings.device)
    records = _work(jobs, settings, out, Pause(options, names, steps, finished, resume))
    show_table(records)
    write_summary(out, environment(settings.device), asdict(options), records)
    show_end(records, out)
