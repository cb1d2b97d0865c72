"""The options of `forerun policy`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from forerun.cli import words

TaskArgument = Annotated[str, typer.Argument(help=f"{', '.join(words.ROBOT_TASKS)}.")]
ModeOption = Annotated[str, typer.Option(help=f"{', '.join(words.MODES)}.")]
EpisodesOption = Annotated[int, typer.Option(min=1, help="Episodes to run.")]
VideoOption = Annotated[Path | None, typer.Option(help="Write a video, .mp4 or .gif.")]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Folder of a policy.", show_default="shipped"),
]
SchedulerOption = Annotated[str, typer.Option(help=f"{', '.join(words.POLICY_SCHEDULERS)}.")]
StepsOption = Annotated[int, typer.Option(min=1, help="Steps of the scheduler.")]
ExecutedOption = Annotated[int, typer.Option(min=1, help="Actions of a chunk that are executed.")]
DeadlineOption = Annotated[float, typer.Option(min=0.1, help="Milliseconds of a tick, for a mode that has one.")]
ToleranceOption = Annotated[
    float,
    typer.Option(help="How far a step may still move: rms, in units of its standard deviation."),
]
CheckOption = Annotated[
    bool,
    typer.Option(help="Estimate the deviation of every chunk; go on where it is too large."),
]


@dataclass(frozen=True)
class PolicyOptions:
    """What decides the episodes, in the words of the command line.

    Args:
        mode: how a tick is answered.
        scheduler: of the sampling.
        steps: of the scheduler.
        executed: actions of a chunk that are executed.
        episodes: to run.
        seed: of the noise, and of the first episode.
        tolerance: of the sampler.
        window: steps in flight.
        deadline: milliseconds of a tick, where the mode has one.
        check: estimate how far each chunk is from the one in order, and go on where that is too far.
    """

    mode: str
    scheduler: str
    steps: int
    executed: int
    episodes: int
    seed: int
    tolerance: float
    window: str
    deadline: float
    check: bool
