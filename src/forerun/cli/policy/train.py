"""`forerun train-policy`: a diffusion policy trained on demonstrations."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import torch
import typer

from forerun.cli import words
from forerun.cli.policy import names
from forerun.cli.terminal import console, refusing
from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.train import PolicyTraining, fit_policy, training_facts

STOPPED = 130  # what a shell expects after Ctrl-C


def train_policy(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help=f"{', '.join(names.TASKS)}.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the policy.")] = Path("forerun-out/policy"),
    work: Annotated[Path, typer.Option(help="Folder for demonstrations and unfinished training.")] = Path(
        "forerun-out/work"
    ),
    demonstrations: Annotated[int, typer.Option(min=1, help="Successful episodes of the expert.")] = 200,
    network: Annotated[str, typer.Option(help=f"{', '.join(names.SIZES)}.")] = "small",
    steps: Annotated[int | None, typer.Option(min=1, help="Of the optimiser.", show_default="the network's")] = None,
    prediction: Annotated[str, typer.Option(help=f"{', '.join(names.PREDICTIONS)}.")] = "sample",
    gripper: Annotated[
        float, typer.Option(min=1.0, help="Divides the gripper in the units of diffusion; RTI asks for 10.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of demonstrations, weights and batches.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that torch may use.")] = 1,
) -> None:
    """Train a diffusion policy on the demonstrations of a script; the same line goes on where it was stopped."""
    torch.set_num_threads(threads)
    with refusing():
        wanted = names.task(task)
        size = words.choose(network, names.SIZES, "--network")
        predicted = words.choose(prediction, names.PREDICTIONS, "--prediction")
        settings = PolicyTraining(size, steps or size.steps, seed=seed, prediction=predicted, gripper=gripper)
        for folder in (out, work):
            folder.mkdir(parents=True, exist_ok=True)
    try:
        shown = _demonstrations(wanted, demonstrations, seed, work)
        policy = fit_policy(wanted, shown, settings, work)
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted[/yellow]. The same line goes on:")
        console.print(f"  {_again(context)}", soft_wrap=True)
        raise typer.Exit(STOPPED) from None
    line = _again(context, without=("out", "work", "threads"))
    policy.save(out, {"command": line, "demonstrations": demonstrations, **training_facts(wanted, settings, work)})
    console.print(f"Saved to {out}. To see it act:", soft_wrap=True)
    console.print(f"  forerun policy {task} --policy {out}", soft_wrap=True)


def _demonstrations(task: RobotTask, count: int, seed: int, work: Path) -> Demonstrations:
    def report(done: int, tried: int) -> None:
        if done % 20 == 0 or done == count:
            console.print(f"{task.name}: {done} of {count} demonstrations, {tried} episodes")

    return Demonstrations.load_or_collect(task, count, work, seed=seed, report=report)


def _again(context: typer.Context, *, without: Collection[str] = ()) -> str:
    """The line with all that was given, but for some options."""
    parts = ["forerun", "train-policy", str(context.params["task"])]
    for name, value in context.params.items():
        if name not in {"task", *without} and "COMMANDLINE" in str(context.get_parameter_source(name)):
            parts += [f"--{name}", str(value)]
    return shlex.join(parts)
