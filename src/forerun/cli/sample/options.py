"""The words of `forerun sample`, and what is wrong with them before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from forerun.cli import words
from forerun.engine.backends import Backend, Distributed, Local
from forerun.engine.methods import Method
from forerun.engine.windows import Window
from forerun.worlds.scenes import captions

PROMPT = "a red torus left of a blue cube"
GUIDANCE = 2.0  # of the shipped pipeline, which is small: more of it bends the edges
INDEX = "model_index.json"  # what makes a folder a pipeline


@dataclass(frozen=True)
class Options:
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

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From all that the command was given, of which the rest is about its files."""
        return cls(**{each.name: given[each.name] for each in fields(cls)})


@dataclass(frozen=True)
class Settings:
    """The objects behind the words."""

    method: Method
    window: Window
    device: torch.device
    dtype: torch.dtype
    backend: Backend
    scheduler: str | None  # a class of diffusers

    @classmethod
    def of(cls, options: Options, ranks: int) -> Settings:
        """Everything that can be known without diffusers and without weights.

        Raises:
            ImportError: diffusers is missing.
            ValueError: a word stands for nothing, or a number makes no sense.
        """
        _refuse_numbers(options)
        _refuse_prompt(options)
        settings = cls(
            words.choose(options.method, words.METHODS, "--method"),
            words.window(options.window),
            words.device(options.device),
            words.choose(options.dtype, words.DTYPES, "--dtype"),
            Distributed(max_batch=options.max_batch) if ranks > 1 else Local(options.max_batch),
            None if options.scheduler is None else words.scheduler(options.scheduler),
        )
        _refuse_folder(options.pipeline)
        missing = [name for name in ("diffusers", "transformers") if find_spec(name) is None]
        if missing:
            raise ImportError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed, and the pipelines are "
                "theirs: pip install 'forerun[diffusers]'"
            )
        return settings


def _refuse_numbers(options: Options) -> None:
    if options.steps < 2:
        raise ValueError(f"--steps {options.steps} leaves nothing to run ahead of; type --steps 50, or any from 2 on")
    if options.images < 1:
        raise ValueError(f"--images {options.images} draws nothing; type --images 1, or more")
    if options.max_batch is not None and options.max_batch < 1:
        raise ValueError(f"--max-batch {options.max_batch} evaluates nothing; type --max-batch 16, or leave it out")
    if options.tolerance is not None and not 0 <= options.tolerance < float("inf"):
        raise ValueError(f"--tolerance {options.tolerance:g} is no distance; type --tolerance 1e-3, or leave it out")


def _refuse_prompt(options: Options) -> None:
    """What the shipped pipeline cannot draw."""
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
    """What is neither a folder with a pipeline nor an id."""
    if pipeline is None:
        return
    folder = Path(pipeline)
    if folder.exists() and not (folder / INDEX).is_file():
        raise ValueError(
            f"--pipeline {pipeline} is no pipeline: there is no {INDEX} in it; name the folder that "
            "pipe.save_pretrained(FOLDER) wrote"
        )
    if not folder.exists() and (pipeline.count("/") != 1 or pipeline.startswith((".", "/", "~"))):
        raise ValueError(
            f"--pipeline {pipeline} is neither a folder that exists nor an id; name a folder that "
            "pipe.save_pretrained(FOLDER) wrote, or an id such as stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
