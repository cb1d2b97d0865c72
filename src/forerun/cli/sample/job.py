"""A job: a pipeline of diffusers, and the arguments of its call."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.cli import words
from forerun.cli.sample.options import GUIDANCE, PROMPT, Options, Settings

PYTHON = "use it from Python, inside of `with forerun.diffusion.parallel(pipe):`"
COUNTS = ("num_images_per_prompt", "batch_size")  # how pipelines call the number of images


@dataclass(frozen=True)
class Job:
    """A pipeline, ready to run.

    Attributes:
        pipe: of diffusers.
        arguments: of its call, the generator left out.
        seed: of the noise, which is drawn on the CPU: the same on any device.
    """

    pipe: Any
    arguments: Mapping[str, Any]
    seed: int

    @property
    def name(self) -> str:
        """Its scheduler and its steps."""
        kind = type(self.pipe.scheduler).__name__
        scheduler = next((word for word, name in words.SCHEDULERS.items() if name == kind), kind)
        return f"{scheduler}, {self.arguments['num_inference_steps']} steps"

    @property
    def prompt(self) -> str | None:
        """What the images shall show."""
        return self.arguments.get("prompt")

    def call(self, steps: int | None = None) -> list[Tensor]:
        """Run the pipeline; its images, uint8 `(H, W, 3)`.

        Raises:
            ValueError: it makes something else.
        """
        changed = {} if steps is None else {"num_inference_steps": steps}
        generator = torch.Generator().manual_seed(self.seed)
        output = self.pipe(**{**self.arguments, **changed}, generator=generator)
        if not hasattr(output, "images"):
            raise ValueError(f"{type(self.pipe).__name__} makes {', '.join(output)}, no images; {PYTHON}")
        return [_tensor(image.convert("RGB")) for image in output.images]


def prepare(options: Options, settings: Settings) -> Job:
    """Load the pipeline, with the scheduler that was asked for.

    Raises:
        OSError: there is no such pipeline.
        ImportError: it needs a package that is not installed.
        ValueError: it does not take what was given, or needs more.
    """
    with _quiet():
        kind = None if settings.scheduler is None else _scheduler(settings.scheduler)
        pipe = _load(options, settings)
        if kind is not None:
            pipe.scheduler = kind.from_config(pipe.scheduler.config)
        pipe.to(settings.device)
    _refuse_pipeline(options, pipe)
    pipe.set_progress_bar_config(disable=True)
    return Job(pipe, _arguments(options, pipe), options.seed)


def _load(options: Options, settings: Settings) -> Any:
    if options.pipeline is None:
        from forerun.worlds.scenes.load import load_scenes_pipeline

        return load_scenes_pipeline(settings.dtype)
    from diffusers import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(options.pipeline, torch_dtype=settings.dtype)
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"--pipeline {options.pipeline} could not be loaded: {error}") from error


def _refuse_pipeline(options: Options, pipe: Any) -> None:
    scheduler, name = getattr(pipe, "scheduler", None), type(pipe).__name__
    if scheduler is None:
        raise ValueError(f"{name} has no scheduler, so it has no steps to run ahead of")
    if hasattr(pipe, "video_processor"):
        raise ValueError(f"{name} makes videos, no images; {PYTHON}")
    trained = scheduler.config.get("num_train_timesteps")
    if trained is not None and options.steps > trained:
        raise ValueError(
            f"--steps {options.steps} is more than the {trained} that the pipeline was trained with; type --steps 50, "
            f"or any up to {trained}"
        )


def _scheduler(name: str) -> Any:
    """A class of diffusers; it will take over the settings of the pipeline's own scheduler."""
    import diffusers

    kind = getattr(diffusers, name, None)
    if kind is None or not hasattr(kind, "from_config"):
        raise ValueError(
            f"--scheduler {name} is no class of diffusers {diffusers.__version__}; its schedulers are "
            f"{', '.join(each for each in dir(diffusers) if each.endswith('Scheduler') and 'Flax' not in each)}"
        )
    return kind


def _arguments(options: Options, pipe: Any) -> dict[str, Any]:
    """Of the pipeline's call; one that it does not take, or that it needs besides, is refused."""
    shipped, name = options.pipeline is None, type(pipe).__name__
    taken = inspect.signature(pipe.__call__).parameters
    count = next((each for each in COUNTS if each in taken), "num_images_per_prompt")
    wanted = {
        "prompt": ("PROMPT", options.prompt or (PROMPT if shipped else None)),
        "num_inference_steps": ("--steps", options.steps),
        "guidance_scale": ("--guidance", GUIDANCE if shipped and options.guidance is None else options.guidance),
        "negative_prompt": ("--negative", options.negative),
        count: ("--images", options.images if options.images > 1 else None),
    }
    given = {key: value for key, (_, value) in wanted.items() if value is not None}
    for key in given:
        if key not in taken:
            raise ValueError(f"{name} takes no {key}; leave {wanted[key][0]} out")
    if "prompt" in taken and "prompt" not in given:
        raise ValueError(f'{name} draws what it is told; type forerun sample --pipeline {options.pipeline} "a prompt"')
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [key for key, each in taken.items() if each.default is each.empty and each.kind not in rest]
    missing = [key for key in needed if key not in given]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)} too, which this command cannot give; {PYTHON}")
    return given


def _tensor(image: Any) -> Tensor:
    wide, high = image.size
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(high, wide, 3)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and the advice that libraries print while they load."""
    import diffusers.utils.logging
    import transformers.utils.logging

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    levels = [logger.level for logger in loggers]
    for logger, library in zip(loggers, libraries, strict=True):
        logger.setLevel(logging.ERROR)
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, library, level in zip(loggers, libraries, levels, strict=True):
            logger.setLevel(level)
            library.enable_progress_bar()
