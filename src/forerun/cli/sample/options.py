"""The options of `forerun sample`, and what is wrong with them before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from forerun.cli import words
from forerun.cli.kit.options import THREADS_HELP, WINDOW_HELP, gather_options
from forerun.cli.kit.solve_options import read_solve_options
from forerun.cli.sample import ranks
from forerun.engine.backends import Backend, Distributed, Local, Threads
from forerun.engine.backends.threads import count_usable_cores
from forerun.engine.options import SolveOptions
from forerun.worlds.scenes import captions

SHIPPED_PROMPT = "a red torus left of a blue cube"
SHIPPED_GUIDANCE = 2.0  # the shipped pipeline is small: more of it bends the edges
PIPELINE_INDEX = "model_index.json"  # what makes a folder a pipeline

PromptArgument = Annotated[str | None, typer.Argument(help="What to draw.", show_default=SHIPPED_PROMPT)]
PipelineOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or id of a pipeline of diffusers.",
        metavar="FOLDER_OR_ID",
        show_default="shipped",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(words.PIPELINE_SCHEDULERS)}, or a class of diffusers.",
        show_default="the pipeline's",
    ),
]
StepsOption = Annotated[int, typer.Option(help="Steps of the scheduler.")]
GuidanceOption = Annotated[float | None, typer.Option(help="Guidance scale.", show_default="the pipeline's")]
NegativeOption = Annotated[str | None, typer.Option(help="What not to draw.")]
ImagesOption = Annotated[int, typer.Option(help="Images of the prompt.")]
ToleranceOption = Annotated[
    float | None,
    typer.Option(help="How far from the run in order: rms, in units of the samples.", show_default="1e-3"),
]
UsualWindowOption = Annotated[
    str | None, typer.Option(help=WINDOW_HELP, show_default="auto with --pipeline, else full")
]
MaxBatchOption = Annotated[int | None, typer.Option(help="Steps in one call of the network, at most.")]
CoresOption = Annotated[
    int | None, typer.Option("--threads", min=1, help=THREADS_HELP, show_default="one for each core")
]
DtypeOption = Annotated[str, typer.Option(help=f"{', '.join(words.DTYPES)}.")]
StrictOption = Annotated[bool, typer.Option(help="Fail rather than run in order what is not understood.")]


@dataclass(frozen=True)
class SampleOptions:
    """What decides the images and the way to them, in the words of the command line."""

    prompt: str | None
    pipeline: str | None
    scheduler: str | None
    steps: int
    guidance: float | None
    negative: str | None
    images: int
    seed: int
    tolerance: float | None
    method: str
    window: str
    max_batch: int | None
    device: str
    dtype: str
    strict: bool
    threads: int = 1

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> SampleOptions:
        """Return the options of the parameters, with the usual window and threads, and the device of this process.

        Raises:
            ValueError: one GPU was named for several processes.
        """
        usual_window = "full" if parameters["pipeline"] is None else "auto"
        window = parameters["window"] or usual_window
        threads = parameters["threads"] or count_usable_cores()
        device = ranks.choose_rank_device(parameters["device"])
        return gather_options(cls, {**parameters, "window": window, "device": device, "threads": threads})


@dataclass(frozen=True)
class SampleSettings:
    """The objects that the words of the options stand for."""

    solve_options: SolveOptions
    device: torch.device
    dtype: torch.dtype
    scheduler: str | None  # a class of diffusers

    @classmethod
    def from_options(cls, options: SampleOptions, ranks: int) -> SampleSettings:
        """Return everything that can be known without diffusers and without weights.

        Raises:
            ImportError: diffusers is missing.
            ValueError: a word stands for nothing, or a number makes no sense.
        """
        _refuse_numbers(options)
        _refuse_prompt(options)
        solve_options = read_solve_options(
            method=options.method,
            window=options.window,
            tolerance=options.tolerance,
        )
        scheduler = options.scheduler
        if scheduler is not None:
            scheduler = words.find_scheduler(scheduler)
        settings = cls(
            solve_options=replace(solve_options, backend=_choose_backend(options, ranks)),
            device=words.find_device(options.device),
            dtype=words.choose_word(options.dtype, words.DTYPES, "--dtype"),
            scheduler=scheduler,
        )
        _refuse_folder(options.pipeline)
        _require_packages()
        return settings


def _choose_backend(options: SampleOptions, ranks: int) -> Backend:
    if ranks > 1:
        return Distributed(max_batch=options.max_batch)
    if options.threads > 1:
        return Threads(options.threads, options.max_batch)
    return Local(options.max_batch)


def _require_packages() -> None:
    missing = [name for name in ("diffusers", "transformers") if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ImportError(
            f"{' and '.join(missing)} {verb} not installed, and the pipelines are theirs: "
            "pip install 'forerun[diffusers]'"
        )


def _refuse_numbers(options: SampleOptions) -> None:
    if options.steps < 2:
        raise ValueError(f"--steps {options.steps} leaves nothing to run ahead of; type --steps 50, or any from 2 on")
    if options.images < 1:
        raise ValueError(f"--images {options.images} draws nothing; type --images 1, or more")
    if options.max_batch is not None and options.max_batch < 1:
        raise ValueError(f"--max-batch {options.max_batch} evaluates nothing; type --max-batch 16, or leave it out")


def _refuse_prompt(options: SampleOptions) -> None:
    """Refuse what the shipped pipeline cannot draw."""
    if options.pipeline is not None:
        return
    for name, text in (("prompt", options.prompt), ("--negative", options.negative)):
        unknown = captions.unknown_words(text or "")
        if unknown:
            raise ValueError(
                f"the {name} {text!r} has words that the shipped pipeline has never read: {', '.join(unknown)}; it "
                f"knows {', '.join(captions.caption_words())}. Type something like 'a small green cone above a grey "
                "cube', or name a pipeline that knows more: --pipeline FOLDER_OR_ID"
            )


def _refuse_folder(pipeline: str | None) -> None:
    """Refuse what is neither a folder with a pipeline nor an id."""
    if pipeline is None:
        return
    folder = Path(pipeline)
    if not folder.exists():
        _refuse_id(pipeline)
    elif not (folder / PIPELINE_INDEX).is_file():
        raise ValueError(
            f"--pipeline {pipeline} must be the folder of a pipeline, and there is no {PIPELINE_INDEX} in it; name the "
            "folder that pipe.save_pretrained(FOLDER) wrote"
        )


def _refuse_id(pipeline: str) -> None:
    if pipeline.count("/") != 1 or pipeline.startswith((".", "/", "~")):
        raise ValueError(
            f"--pipeline {pipeline} is neither a folder that exists nor an id; name a folder that "
            "pipe.save_pretrained(FOLDER) wrote, or an id such as stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
