"""`forerun policy`: a trained policy moves a simulated arm, in parallel over steps and in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer

from forerun.cli import words
from forerun.cli.kit import options as kit
from forerun.cli.kit.machine import timing_facts
from forerun.cli.kit.output_files import SUMMARY_NAME, make_folders, write_json
from forerun.cli.kit.stopping import FAILED_EXIT, end_interrupted
from forerun.cli.kit.terminal import console, end_with_error, refusing_input
from forerun.cli.policy import options as own
from forerun.cli.policy.job import (
    PolicyJob,
    PolicyOutcome,
    StepListener,
    ignore_step,
    prepare_policy,
    run_ahead,
    run_in_order,
)
from forerun.cli.policy.options import PolicyOptions
from forerun.cli.policy.show import show_begin, show_table
from forerun.policy.sampler import NotFinite
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.video import VideoRecorder, check_video


def policy(
    context: typer.Context,
    task: own.TaskArgument,
    *,
    mode: own.ModeOption = "warm",
    episodes: own.EpisodesOption = 20,
    video: own.VideoOption = None,
    folder: own.PolicyOption = None,
    scheduler: own.SchedulerOption = "ddpm",
    steps: own.StepsOption = 100,
    executed: own.ExecutedOption = 8,
    deadline: own.DeadlineOption = 10.0,
    seed: kit.SeedOption = kit.DEFAULT_SEED,
    tolerance: own.ToleranceOption = 3e-3,
    window: kit.WindowOption = "full",
    check: own.CheckOption = False,
    threads: kit.ThreadsOption = kit.DEFAULT_THREADS,
    out: kit.OutOption = kit.DEFAULT_OUT,
    compare: kit.CompareOption = True,
) -> None:
    """Let a diffusion policy move a simulated arm: success, rounds, and how long it thinks."""
    torch.set_num_threads(threads)
    options = kit.gather_options(PolicyOptions, context.params)
    with refusing_input():
        video = _usable_video(video, words.find_task(task))
        job = prepare_policy(task, folder, options)
        make_folders(out, None if video is None else video.parent)
    machine = timing_facts(torch.device("cpu"))
    show_begin(job, options, machine)
    recorder = VideoRecorder()
    on_step = ignore_step if video is None else recorder.record_step
    outcomes = _run_all(job, options, on_step, compare=compare)
    show_table(outcomes)
    if video is not None:
        recorder.save(video)
        console.print(f"{len(recorder.frames)} pictures of the first episodes are in {video}.", soft_wrap=True)
    write_json(out / SUMMARY_NAME, _summary(task, options, outcomes, machine))
    console.print(f"The figures of all episodes are in {out / SUMMARY_NAME}.", soft_wrap=True)


def _run_all(
    job: PolicyJob, options: PolicyOptions, on_step: StepListener, *, compare: bool
) -> dict[str, PolicyOutcome]:
    """Return every run by its name; Ctrl-C and an output that is not finite end the command with a line."""
    outcomes = {}
    try:
        ahead = run_ahead(job, options, on_step)
        if compare:
            outcomes["in order"] = run_in_order(job, options)
    except KeyboardInterrupt:
        end_interrupted(". Nothing was written.")
    except NotFinite as error:
        end_with_error(str(error), code=FAILED_EXIT)
    outcomes[options.mode] = ahead
    return outcomes


def _summary(
    task: str, options: PolicyOptions, outcomes: Mapping[str, PolicyOutcome], machine: Mapping[str, str]
) -> dict[str, Any]:
    summary: dict[str, Any] = {"task": task, "options": asdict(options)}
    for name, outcome in outcomes.items():
        episodes = [asdict(episode) for episode in outcome.episodes]
        summary[name] = {"episodes": episodes, **outcome.figures()}
    return {**summary, "machine": machine}


def _usable_video(video: Path | None, task: RobotTask) -> Path | None:
    """Return where to write the video; None, after a sentence, where something to make it is missing.

    Raises:
        ValueError: a video cannot have this name.
    """
    if video is None:
        return None
    try:
        check_video(video, task)
    except ImportError as error:
        console.print(f"[yellow]{error}[/yellow]", soft_wrap=True)
        return None
    return video
