"""The signature of a scheduler's step: its arguments by name, and the sample in what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch import Tensor

STEP_ARGUMENTS: Final = (
    "model_output",
    "timestep",
    "sample",
)  # that every step begins with


def step_parameters(scheduler: Any) -> list[inspect.Parameter]:
    """Return the parameters of the class's own step, without `self`."""
    parameters = inspect.signature(type(scheduler).step).parameters
    return list(parameters.values())[1:]


def is_required(parameter: inspect.Parameter) -> bool:
    """Return whether a call must fill a parameter."""
    collects = parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    return parameter.default is parameter.empty and not collects


def takes_generator(scheduler: Any) -> bool:
    """Return whether the step of a scheduler takes a generator, as those that draw noise should; `**kwargs` may."""
    for parameter in step_parameters(scheduler):
        if parameter.name == "generator" or parameter.kind is parameter.VAR_KEYWORD:
            return True
    return False


def names_step_arguments(scheduler: Any) -> bool:
    """Return whether the step begins with output, timestep and sample, in this order, whatever it calls them."""
    parameters = step_parameters(scheduler)
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return True
    names = [parameter.name for parameter in parameters[: len(STEP_ARGUMENTS)]]
    if tuple(names) == STEP_ARGUMENTS:
        return True
    if sum(map(is_required, parameters)) != len(STEP_ARGUMENTS):
        return False
    for name, usual_name in zip(names, STEP_ARGUMENTS, strict=True):
        if name != usual_name and name in STEP_ARGUMENTS:
            return False
    later_names = {parameter.name for parameter in parameters[len(STEP_ARGUMENTS) :]}
    return later_names.isdisjoint(STEP_ARGUMENTS)


def bind_step(scheduler: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of the step by name, the first three by their usual names.

    Raises:
        TypeError: the step does not take them.
    """
    signature = inspect.signature(type(scheduler).step)
    bound = signature.bind(scheduler, *args, **kwargs).arguments
    arguments: dict[str, Any] = {}
    parameters = step_parameters(scheduler)
    renames = {}
    if names_step_arguments(scheduler):
        renames = {parameter.name: name for parameter, name in zip(parameters, STEP_ARGUMENTS, strict=False)}
    for parameter in parameters:
        if parameter.name not in bound:
            continue
        value = bound[parameter.name]
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(value)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            arguments.update(zip(STEP_ARGUMENTS, value, strict=False))
        else:
            arguments[renames.get(parameter.name, parameter.name)] = value
    return arguments


def previous_sample(result: Any) -> Tensor:
    """Return the sample of what a step returned: itself, the first of a tuple, or the field of an object.

    Raises:
        TypeError: there is none.
    """
    sample = result
    if isinstance(result, tuple | list) and result:
        sample = result[0]
    elif not isinstance(result, Tensor):
        sample = getattr(result, "prev_sample", None)
    if not isinstance(sample, Tensor):
        raise TypeError(f"the scheduler's step returned {type(result).__name__}, which holds no sample")
    return sample
