"""The options of `forerun text3d`, and what is wrong with them before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from forerun.cli.kit.output_files import read_resume_record, unusable_record, write_resume_record
from forerun.cli.kit.solve_options import read_solve_options
from forerun.engine.options import SolveOptions
from forerun.optim.tolerance import StepLength

DEFAULT_PROMPT = "a yellow cone"
REQUIRED_PACKAGES = (
    ("diffusers", "diffusers"),
    ("transformers", "diffusers"),
    ("PIL", "plot"),
)  # and the extra of each

PromptArgument = Annotated[str, typer.Argument(help="A colour and a shape.")]
StepsOption = Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")]
ViewsOption = Annotated[int, typer.Option(min=1, help="Pictures a step.")]
SizeOption = Annotated[int, typer.Option(help="Voxels along a side.")]
GuidanceOption = Annotated[float, typer.Option(help="Guidance of the prior; 4 and more over-saturates.")]
RateOption = Annotated[float, typer.Option(help="Learning rate of Adam.")]
ToleranceOption = Annotated[float, typer.Option(help="How far a step may still move, in lengths of a step.")]


@dataclass(frozen=True)
class Text3dOptions:
    """What decides the solid and the way to it, in the words of the command line."""

    prompt: str
    steps: int
    views: int
    size: int
    guidance: float
    rate: float
    seed: int
    method: str
    window: str
    tolerance: float

    @classmethod
    def load(cls, checkpoint: Path) -> Text3dOptions:
        """Return the options of an interrupted run, from the file beside its checkpoint.

        Raises:
            OSError: there is no such file.
            ValueError: it has no options.
        """
        content = read_resume_record(checkpoint)
        try:
            return cls(**content)
        except TypeError as error:
            raise unusable_record(checkpoint) from error

    def save(self, checkpoint: Path) -> None:
        """Write the options beside a checkpoint."""
        write_resume_record(checkpoint, asdict(self))


def check_options(options: Text3dOptions) -> SolveOptions:
    """Return how to solve, and refuse everything that can be refused without diffusers and without weights.

    Raises:
        ImportError: a package is missing.
        ValueError: a word stands for nothing, or a number makes no sense.
    """
    from forerun.worlds.solids.prompts import parse_prompt

    parse_prompt(options.prompt)
    solve_options = read_solve_options(
        method=options.method,
        window=options.window,
        tolerance=options.tolerance,
        advice="0.3",
    )
    for module, extra in REQUIRED_PACKAGES:
        if find_spec(module) is None:
            raise ImportError(f"{module} is not installed: pip install 'forerun[{extra}]'")
    return replace(solve_options, tolerance=StepLength(options.tolerance))
