"""The arguments of a pipeline's call, from the options of the command."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forerun.cli.sample.options import SHIPPED_GUIDANCE, SHIPPED_PROMPT, SampleOptions

PYTHON_ADVICE = "use it from Python, inside of `with forerun.diffusion.parallel(pipe):`"
COUNT_NAMES = ("num_images_per_prompt", "batch_size")  # how pipelines call the number of images
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Parameters = Mapping[str, inspect.Parameter]


@dataclass(frozen=True)
class CallArgument:
    """An argument of a pipeline's call.

    Attributes:
        name: as the pipeline has it.
        option: as the command line has it.
        value: None where it is left to the pipeline.
    """

    name: str
    option: str
    value: Any


def call_arguments(options: SampleOptions, pipe: Any) -> dict[str, Any]:
    """Return the arguments of a pipeline's call.

    Raises:
        ValueError: the pipeline does not take one of them, or needs one besides.
    """
    pipeline_name = type(pipe).__name__
    parameters = inspect.signature(pipe.__call__).parameters
    values = {}
    for argument in _option_arguments(options, parameters):
        if argument.value is None:
            continue
        if argument.name not in parameters:
            raise ValueError(f"{pipeline_name} takes no {argument.name}; leave {argument.option} out")
        values[argument.name] = argument.value
    if "prompt" in parameters and "prompt" not in values:
        raise ValueError(
            f"{pipeline_name} draws a prompt, and there is none; type forerun sample --pipeline {options.pipeline} "
            '"a prompt"'
        )
    missing = [name for name in _required_names(parameters) if name not in values]
    if missing:
        raise ValueError(
            f"{pipeline_name} needs {', '.join(missing)} too, which this command cannot give; {PYTHON_ADVICE}"
        )
    return values


def _option_arguments(options: SampleOptions, parameters: Parameters) -> list[CallArgument]:
    """Return all arguments that the options decide, those that are None included."""
    prompt = options.prompt
    guidance = options.guidance
    if options.pipeline is None:
        prompt = prompt or SHIPPED_PROMPT
        guidance = SHIPPED_GUIDANCE if guidance is None else guidance
    images = options.images if options.images > 1 else None
    return [
        CallArgument("prompt", "PROMPT", prompt),
        CallArgument("num_inference_steps", "--steps", options.steps),
        CallArgument("guidance_scale", "--guidance", guidance),
        CallArgument("negative_prompt", "--negative", options.negative),
        CallArgument(_count_name(parameters), "--images", images),
    ]


def _count_name(parameters: Parameters) -> str:
    for name in COUNT_NAMES:
        if name in parameters:
            return name
    return COUNT_NAMES[0]


def _required_names(parameters: Parameters) -> list[str]:
    names = []
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and parameter.kind not in VARIADIC:
            names.append(name)
    return names
