"""What a pipeline's scheduler was before a step, and what is left of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch

from forerun.diffusion.pipelines.guidance import Named
from forerun.diffusion.schedulers.history import SchedulerTemplate, VaryingArgument
from forerun.diffusion.schedulers.noise import copied, originals

SCALES = ("guidance_scale", "_guidance_scale", "true_cfg_scale", "_true_cfg_scale")
NOT_OPTIONS = {"self", "model_output", "timestep", "sample", "generator", "return_dict"}
RESCALES = ("guidance_rescale", "_guidance_rescale")


@final
class Before:
    """A scheduler and its generator just before a step, free to be stepped; and the arguments of that step."""

    def __init__(self, scheduler: Any, given: Mapping[str, Any]) -> None:
        self.given = given
        skeleton, history = SchedulerTemplate.of(scheduler, given["sample"].shape)
        self.scheduler = skeleton.fill(history)
        generator = given.get("generator")
        own = [copied(each) for each in originals(generator, given["sample"].device)]
        self.generator: Any = own if isinstance(generator, Sequence) else own[0]


def remaining(pipe: Any, before: Before, steps: int) -> list[Any]:
    """The timesteps of a loop from the step `before` on, `steps` of it being taken."""
    given = torch.as_tensor(before.given["timestep"])
    timestep = float(given.flatten()[0])
    known = list(before.scheduler.timesteps)
    places = (getattr(before.scheduler, name, None) for name in ("_step_index", "_begin_index"))
    place = next((int(place) for place in places if place is not None), None)
    if place is None or place >= len(known) or float(known[place]) != timestep:
        place = next((index for index, t in enumerate(known) if float(t) == timestep), len(known))
    rest = known[place:]
    total = getattr(pipe, "_num_timesteps", None)
    left = total - steps if isinstance(total, int) else len(rest)
    rest = rest[:left] if 0 < left <= len(rest) else rest
    return [t.reshape(1) for t in rest] if given.dim() else rest


def options(before: Before, timesteps: Sequence[Any]) -> dict[str, Any]:
    """The further arguments of a step, and of those to come; one that is the next timestep goes on being it."""
    found = {name: value for name, value in before.given.items() if name not in NOT_OPTIONS}
    following = [*timesteps[1:], None]
    for name, value in found.items():
        if name.endswith("timestep") and value is not None and float(value) == float(timesteps[1]):
            found[name] = VaryingArgument(following)
    return found


def named(pipe: Any) -> Named:
    """What a pipeline says of its guidance."""
    holders = [pipe, getattr(pipe, "guider", None)]

    def numbers(names: Sequence[str]) -> tuple[float, ...]:
        found = [getattr(holder, name, None) for holder in holders for name in names]
        return tuple(float(each) for each in found if isinstance(each, int | float) and not isinstance(each, bool))

    return Named(numbers(SCALES), tuple(share for share in numbers(RESCALES) if share), holders[1])
