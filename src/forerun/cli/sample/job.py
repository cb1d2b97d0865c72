"""The job of `forerun sample`: a pipeline of diffusers, and the arguments of its call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun.cli import words
from forerun.cli.sample.call_arguments import PYTHON_ADVICE, call_arguments
from forerun.cli.sample.options import SampleOptions, SampleSettings
from forerun.diffusion.schedulers.quirks import TRAIN_TIMESTEPS


@dataclass(frozen=True)
class SampleJob:
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
    def pipeline_name(self) -> str:
        """The name of the pipeline's class."""
        return type(self.pipe).__name__

    @property
    def name(self) -> str:
        """The scheduler and its steps."""
        scheduler = type(self.pipe.scheduler).__name__
        for word, class_name in words.PIPELINE_SCHEDULERS.items():
            if class_name == scheduler:
                scheduler = word
                break
        return f"{scheduler}, {self.arguments['num_inference_steps']} steps"

    @property
    def prompt(self) -> str | None:
        """What the images shall show."""
        return self.arguments.get("prompt")

    def draw_images(self, steps: int | None = None) -> list[Tensor]:
        """Run the pipeline and return its images, uint8 `(H, W, 3)`.

        Raises:
            ValueError: it makes something else.
        """
        arguments = dict(self.arguments)
        if steps is not None:
            arguments["num_inference_steps"] = steps
        generator = torch.Generator().manual_seed(self.seed)
        output = self.pipe(**arguments, generator=generator)
        if not hasattr(output, "images"):
            raise ValueError(f"{self.pipeline_name} makes {', '.join(output)}, not images; {PYTHON_ADVICE}")
        return [_image_tensor(image.convert("RGB")) for image in output.images]


def prepare_sample(options: SampleOptions, settings: SampleSettings) -> SampleJob:
    """Load the pipeline, with the scheduler that was asked for.

    Raises:
        OSError: there is no such pipeline.
        ImportError: it needs a package that is not installed.
        ValueError: it does not take an option, or needs more.
    """
    with _quiet_libraries():
        pipe = _load_pipeline(options, settings)
        if settings.scheduler is not None:
            scheduler_class = _scheduler_class(settings.scheduler)
            pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config)
        pipe.to(settings.device)
    _refuse_pipeline(options, pipe)
    pipe.set_progress_bar_config(disable=True)
    return SampleJob(pipe, call_arguments(options, pipe), options.seed)


def _load_pipeline(options: SampleOptions, settings: SampleSettings) -> Any:
    if options.pipeline is None:
        from forerun.worlds.scenes.load import load_scenes_pipeline

        return load_scenes_pipeline(settings.dtype)
    from diffusers import DiffusionPipeline

    try:
        return DiffusionPipeline.from_pretrained(options.pipeline, torch_dtype=settings.dtype)
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"--pipeline {options.pipeline} could not be loaded: {error}") from error


def _refuse_pipeline(options: SampleOptions, pipe: Any) -> None:
    name = type(pipe).__name__
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None:
        raise ValueError(f"{name} has no scheduler, so it has no steps to run ahead of")
    if hasattr(pipe, "video_processor"):
        raise ValueError(f"{name} makes videos, not images; {PYTHON_ADVICE}")
    trained_steps = TRAIN_TIMESTEPS.read(scheduler)
    if trained_steps is not None and options.steps > trained_steps:
        raise ValueError(
            f"--steps {options.steps} is more than the {trained_steps} that the pipeline was trained with; type "
            f"--steps 50, or any up to {trained_steps}"
        )


def _scheduler_class(name: str) -> Any:
    """Return a class of diffusers, which will take over the settings of the pipeline's own scheduler."""
    import diffusers

    scheduler_class = getattr(diffusers, name, None)
    if scheduler_class is None or not hasattr(scheduler_class, "from_config"):
        names = [name for name in dir(diffusers) if name.endswith("Scheduler") and "Flax" not in name]
        raise ValueError(
            f"--scheduler {name} is not a class of diffusers {diffusers.__version__}; its schedulers are "
            f"{', '.join(names)}"
        )
    return scheduler_class


def _image_tensor(image: Any) -> Tensor:
    width, height = image.size
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.reshape(height, width, 3)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep back the bars and the advice that libraries print while they load."""
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
