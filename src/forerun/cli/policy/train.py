"""`forerun train-policy`: a diffusion policy trained on demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from forerun.cli import words
from forerun.cli.kit import options as kit
from forerun.cli.kit.command_line import repeat_line
from forerun.cli.kit.output_files import make_folders
from forerun.cli.kit.stopping import end_interrupted
from forerun.cli.kit.terminal import console, refusing_input
from forerun.cli.policy.options import TaskArgument
from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.train import PolicyTraining, fit_policy, training_facts

DEFAULT_POLICY_FOLDER = kit.DEFAULT_OUT / "policy"
DEFAULT_WORK_FOLDER = kit.DEFAULT_OUT / "work"
REPORTED_DEMONSTRATIONS = 20  # between two lines
FILE_PARAMETERS = ("out", "work", "threads")  # they do not change what is trained

WorkOption = Annotated[Path, typer.Option(help="Folder for demonstrations and unfinished training.")]
DemonstrationsOption = Annotated[int, typer.Option(min=1, help="Successful episodes of the expert.")]
NetworkOption = Annotated[str, typer.Option(help=f"{', '.join(words.POLICY_SIZES)}.")]
TrainingStepsOption = Annotated[
    int | None,
    typer.Option("--steps", min=1, help="Steps of the optimiser.", show_default="the network's"),
]
PredictionOption = Annotated[str, typer.Option(help=f"{', '.join(words.PREDICTIONS)}.")]
GripperOption = Annotated[
    float,
    typer.Option(min=1.0, help="Divides the gripper in the units of diffusion; RTI needs 10."),
]


def train_policy(
    context: typer.Context,
    task: TaskArgument,
    *,
    out: kit.OutOption = DEFAULT_POLICY_FOLDER,
    work: WorkOption = DEFAULT_WORK_FOLDER,
    demonstrations: DemonstrationsOption = 200,
    network: NetworkOption = "small",
    steps: TrainingStepsOption = None,
    prediction: PredictionOption = "sample",
    gripper: GripperOption = 1.0,
    seed: kit.SeedOption = kit.DEFAULT_SEED,
    threads: kit.ThreadsOption = kit.DEFAULT_THREADS,
) -> None:
    """Train a diffusion policy on the demonstrations of a script; the same line goes on where it was stopped."""
    torch.set_num_threads(threads)
    with refusing_input():
        robot_task = words.find_task(task)
        size = words.choose_word(network, words.POLICY_SIZES, "--network")
        training = PolicyTraining(
            size,
            steps or size.steps,
            seed=seed,
            prediction=words.choose_word(prediction, words.PREDICTIONS, "--prediction"),
            gripper=gripper,
        )
        make_folders(out, work)
    try:
        episodes = _load_demonstrations(robot_task, demonstrations, seed, work)
        policy = fit_policy(robot_task, episodes, training, work)
    except KeyboardInterrupt:
        end_interrupted(". The same line goes on:", repeat_line(context))
    line = repeat_line(context, without=FILE_PARAMETERS)
    facts = training_facts(robot_task, training, work)
    policy.save(out, {"command": line, "demonstrations": demonstrations, **facts})
    console.print(f"Saved to {out}. To see it act:", soft_wrap=True)
    console.print(f"  forerun policy {task} --policy {out}", soft_wrap=True)


def _load_demonstrations(
    task: RobotTask,
    count: int,
    seed: int,
    work: Path,
) -> Demonstrations:
    def report(done: int, attempts: int) -> None:
        if done % REPORTED_DEMONSTRATIONS == 0 or done == count:
            console.print(f"{task.name}: {done} of {count} demonstrations, {attempts} episodes")

    return Demonstrations.load_or_collect(task, count, work, seed=seed, report=report)
