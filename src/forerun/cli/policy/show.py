"""What `forerun policy` prints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from rich import box
from rich.table import Table

from forerun.cli.machine import environment
from forerun.cli.policy.job import Job, Options, Outcome
from forerun.cli.terminal import console

HEADINGS = ("success", "95 %", "reward", "rounds", "evaluations", "median", "99th")
LEGEND = """\
success      episodes that were done in time, and the interval of the rate
reward       mean of all steps, in the environment's own units
rounds       calls of the network a chunk, one after another
evaluations  steps computed in all of them
median, 99th milliseconds from an observation to its chunk; in order is the
             plain loop, without forerun
"""


def show_begin(job: Job, options: Options) -> None:
    """What will be run, and where."""
    machine = environment(torch.device("cpu"))
    million, horizon = sum(each.numel() for each in job.policy.network.parameters()) / 1e6, job.policy.shape.horizon
    console.print(
        f"[dim]{job.task.name} ({job.task.title}), {options.episodes} episodes, mode {options.mode}\n"
        f"{options.scheduler} {options.steps} steps, {million:.1f} M parameters, chunks of {horizon} actions, "
        f"{options.executed} executed\n"
        f"torch {machine['torch']}, {machine['threads']} thread(s), {machine['processor']}[/dim]\n"
    )


def show_table(outcomes: Mapping[str, Outcome]) -> None:
    """A row for every run, and what the columns mean."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="")
    table.add_column("", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, outcome in outcomes.items():
        found = outcome.figures()
        table.add_row(
            name,
            f"{outcome.successes}/{len(outcome.episodes)}",
            f"{100 * found['low']:.0f}-{100 * found['high']:.0f} %",
            f"{found['reward']:.2f}",
            f"{found['rounds']:.1f}",
            f"{found['evaluations']:.0f}",
            f"{found['median']:.1f} ms",
            f"{found['slowest']:.1f} ms",
        )
    console.print(table)
    console.print(LEGEND, style="dim")
