"""`forerun policy`: a trained policy moves a simulated arm, ahead of order and in order."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from forerun.cli.machine import environment
from forerun.cli.policy import names
from forerun.cli.policy.job import Job, Options, Outcome, ahead, in_order, prepare
from forerun.cli.policy.show import show_begin, show_table
from forerun.cli.terminal import console, refuse, refusing
from forerun.policy.sampler import NotFinite
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.video import VideoRecorder, check_video

STOPPED = 130  # what a shell expects after Ctrl-C


def policy(
    task: Annotated[str, typer.Argument(help=f"{', '.join(names.TASKS)}.")],
    *,
    mode: Annotated[str, typer.Option(help=f"{', '.join(names.MODES)}.")] = "warm",
    episodes: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    video: Annotated[Path | None, typer.Option(help="Write a video, .mp4 or .gif.")] = None,
    folder: Annotated[Path | None, typer.Option("--policy", help="Folder of a policy.", show_default="shipped")] = None,
    scheduler: Annotated[str, typer.Option(help=f"{', '.join(names.SCHEDULERS)}.")] = "ddpm",
    steps: Annotated[int, typer.Option(min=1, help="Of the scheduler.")] = 100,
    executed: Annotated[int, typer.Option(min=1, help="Actions of a chunk that are executed.")] = 8,
    deadline: Annotated[float, typer.Option(min=0.1, help="Milliseconds of a tick, for a mode that has one.")] = 10.0,
    tolerance: Annotated[
        float, typer.Option(help="How far a step may still move: rms, in units of its standard deviation.")
    ] = 3e-3,
    window: Annotated[str, typer.Option(help="full, auto, or a number of steps.", show_default="full")] = "",
    check: Annotated[
        bool, typer.Option(help="Estimate the deviation of every chunk; go on where it is too large.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and the episodes.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Write the figures of all episodes, one JSON file.")] = None,
    compare: Annotated[bool, typer.Option(help="Run the plain loop on the same episodes too.")] = True,
) -> None:
    """Let a diffusion policy move a simulated arm: success, rounds, and how long it thinks."""
    torch.set_num_threads(threads)
    options = Options(mode, scheduler, steps, executed, episodes, seed, tolerance, window, deadline, check)
    recorder = VideoRecorder()
    with refusing():
        for path in (each for each in (video, out) if each is not None):
            path.parent.mkdir(parents=True, exist_ok=True)
        if video is not None and not _possible(video, names.task(task)):
            video = None
        job = prepare(task, folder, options)
    show_begin(job, options)
    outcomes = _run(job, options, recorder if video is not None else None, compare=compare)
    show_table(outcomes)
    if video is not None:
        recorder.save(video)
        console.print(f"{len(recorder.frames)} pictures of the first episodes are in {video}.", soft_wrap=True)
    if out is not None:
        found = {name: {"episodes": [asdict(e) for e in o.episodes], **o.figures()} for name, o in outcomes.items()}
        machine = environment(torch.device("cpu"))
        out.write_text(
            json.dumps({"task": task, "options": asdict(options), **found, "machine": machine}, indent=2) + "\n"
        )


def _run(job: Job, options: Options, recorder: VideoRecorder | None, *, compare: bool) -> dict[str, Outcome]:
    """Every run by its name; Ctrl-C and a policy gone wrong end the command with a line."""
    watch = (lambda environment: None) if recorder is None else recorder.record_step
    try:
        outcomes = {options.mode: ahead(job, options, watch)}
        return {"in order": in_order(job, options), **outcomes} if compare else outcomes
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted[/yellow]. Nothing was written.")
        raise typer.Exit(STOPPED) from None
    except NotFinite as error:
        refuse(str(error), code=1)


def _possible(video: Path, task: RobotTask) -> bool:
    """Whether a video can be made; if only something is missing, says so, and the episodes run without."""
    try:
        check_video(video, task)
    except ImportError as error:
        console.print(f"[yellow]{error}[/yellow]", soft_wrap=True)
        return False
    return True
