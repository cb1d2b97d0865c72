"""The entry point, and what all commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from forerun.cli.digits.command import digits
from forerun.cli.info import info
from forerun.cli.machine import package
from forerun.cli.policy.command import policy
from forerun.cli.policy.train import train_policy
from forerun.cli.sample.command import sample
from forerun.cli.terminal import console
from forerun.cli.text3d.command import text3d

app = typer.Typer(
    help="Run sequential computations ahead of themselves: many steps at a time, with the sequential answer.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(sample)
app.command()(text3d)
app.command()(digits)
app.command()(policy)
app.command("train-policy")(train_policy)
app.command()(info)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"forerun {package('forerun')}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app(prog_name="forerun")
