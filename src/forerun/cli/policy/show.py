"""What `forerun policy` prints."""

from __future__ import annotations

from collections.abc import Mapping

from forerun.cli.kit.machine import machine_line
from forerun.cli.kit.tables import new_table
from forerun.cli.kit.terminal import console
from forerun.cli.policy.job import PolicyJob, PolicyOutcome
from forerun.cli.policy.options import PolicyOptions

POLICY_HEADINGS = ("success", "95 %", "reward", "rounds", "evaluations", "median", "99th")
POLICY_LEGEND = """\
success      episodes that were done in time, and the interval of the rate
reward       mean of all steps, in the environment's own units
rounds       calls of the network a chunk, one after another
evaluations  steps computed in all of them
median, 99th milliseconds from an observation to its chunk; in order is the
             plain loop, without forerun
"""


def show_begin(job: PolicyJob, options: PolicyOptions, machine: dict[str, str]) -> None:
    """Print what will be run, and where."""
    parameters = sum(parameter.numel() for parameter in job.policy.network.parameters())
    horizon = job.policy.shape.horizon
    console.print(
        f"[dim]{job.task.name} ({job.task.title}), {options.episodes} episodes, mode {options.mode}\n"
        f"{options.scheduler} {options.steps} steps, {parameters / 1e6:.1f} M parameters, chunks of {horizon} actions, "
        f"{options.executed} executed\n"
        f"{machine_line(machine)}[/dim]\n"
    )


def show_table(outcomes: Mapping[str, PolicyOutcome]) -> None:
    """Print a row for every run, and what the columns mean."""
    table = new_table(POLICY_HEADINGS, gap=1)
    for name, outcome in outcomes.items():
        table.add_row(name, *_cells(outcome))
    console.print(table)
    console.print(POLICY_LEGEND, style="dim")


def _cells(outcome: PolicyOutcome) -> list[str]:
    figures = outcome.figures()
    return [
        f"{outcome.successes}/{len(outcome.episodes)}",
        f"{100 * figures['low']:.0f}-{100 * figures['high']:.0f} %",
        f"{figures['reward']:.2f}",
        f"{figures['rounds']:.1f}",
        f"{figures['evaluations']:.0f}",
        f"{figures['median']:.1f} ms",
        f"{figures['slowest']:.1f} ms",
    ]
