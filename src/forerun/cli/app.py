"""The entry point `forerun`, with all its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from forerun.cli.digits.command import digits
from forerun.cli.info import info
from forerun.cli.kit.machine import package_version
from forerun.cli.kit.terminal import console
from forerun.cli.policy.command import policy
from forerun.cli.policy.train import train_policy
from forerun.cli.sample.command import sample
from forerun.cli.study import study
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
app.command()(study)
app.command()(info)


def _show_version(requested: bool) -> None:
    if requested:
        console.print(f"forerun {package_version('forerun')}", highlight=False)
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app(prog_name="forerun")
