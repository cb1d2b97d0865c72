"""Quirks of diffusers schedulers, in one table: what each family says of itself, where it says it, and why it matters.

All schedulers of diffusers share `timesteps`, `set_timesteps` and `step`. Whatever else is to be known of one is a
`SchedulerFact` or a rule here, or a function that puts some of them together; `step_signature` knows how a step is
called. No other file looks at an attribute, a config key, a signature or a class name of a scheduler.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, final

from torch import Tensor

T = TypeVar("T")

NOISE_METHODS: Final = ("add_noise", "scale_noise")  # the second of flow matching
NOISE_TIME_ARGUMENTS: Final = (
    "timesteps",
    "timestep",
)  # of the noise methods, in this order
NOISE_SAMPLE_ARGUMENTS: Final = ("original_samples", "sample")


@final
@dataclass(frozen=True)
class SchedulerFact(Generic[T]):
    """Something that many schedulers say of themselves, and what holds for those that do not.

    Attributes:
        name: of the attribute, or of the key of the config.
        default: what holds where it is missing.
        why: what is special about it.
        configured: whether it stands in the config, rather than on the scheduler.
    """

    name: str
    default: T
    why: str
    configured: bool = False

    def read(self, scheduler: Any) -> T:
        """Return what a scheduler says, or the default."""
        if self.configured:
            config = getattr(scheduler, "config", {})  # a scheduler of one's own may have none
            configured: T = config.get(self.name, self.default)
            return configured
        value: T = getattr(scheduler, self.name, self.default)
        return value


TRAIN_TIMESTEPS = SchedulerFact[int | None](
    "num_train_timesteps",
    None,
    "flow matching may take any number of steps, and some schedulers have no such key",
    configured=True,
)
PREDICTION_TYPE = SchedulerFact[str](
    "prediction_type",
    "unknown",
    "says what the network predicts, unless a rule of PREDICTION_RULES knows better",
    configured=True,
)
CLIPS_SAMPLE = SchedulerFact[bool](
    "clip_sample",
    False,
    "the denoised sample is clamped within the step, which is then not linear",
    configured=True,
)
CLIP_BOUND = SchedulerFact[float](
    "clip_sample_range",
    1.0,
    "older schedulers clamp to one, and have no key for it",
    configured=True,
)
THRESHOLDS_SAMPLE = SchedulerFact[bool](
    "thresholding",
    False,
    "the bound depends on the whole sample: no closed form",
    configured=True,
)
SIGMA_DATA = SchedulerFact[float](
    "sigma_data",
    0.5,
    "the standard deviation of the data, which preconditioning is made for",
    configured=True,
)
INITIAL_SCALE = SchedulerFact[float](
    "init_noise_sigma",
    1.0,
    "variance exploding schedulers begin at their largest sigma, some of the others have no such attribute",
)
PATCHABLE_METHODS = ("step", "scale_model_input", "set_timesteps")  # that may be set on an object
VARIANCE_TYPE = SchedulerFact[str](
    "variance_type",
    "fixed",
    "only schedulers that add noise have one; learned ones are predicted beside the noise",
    configured=True,
)
TIMESTEPS = SchedulerFact[Any](
    "timesteps",
    None,
    "all schedulers of diffusers list them; a scheduler of one's own may name them otherwise",
)
SIGMAS = SchedulerFact[Tensor | None](
    "sigmas",
    None,
    "noise levels by step, only where a scheduler counts its steps",
)
SIGNAL_TABLE = SchedulerFact[Tensor | None](
    "alphas_cumprod",
    None,
    "share of the signal by train timestep, of variance preserving schedulers",
)
STEP_INDEX = SchedulerFact[int | None](
    "_step_index",
    None,
    "None before the first step; schedulers without one find their place by the timestep",
)
BEGIN_INDEX = SchedulerFact[int | None](
    "_begin_index",
    None,
    "set by pipelines that enter a schedule in its middle, before the first step",
)


@final
@dataclass(frozen=True)
class PredictionRule:
    """What the networks of some schedulers predict, where their config does not say it.

    Attributes:
        kind: of the prediction.
        why: the config does not say it.
        attribute: that such schedulers have.
        beginnings: of the names of such classes.
    """

    kind: str
    why: str
    attribute: str = ""
    beginnings: tuple[str, ...] = ()

    def holds(self, scheduler: Any) -> bool:
        """Return whether this rule is about a scheduler."""
        if self.attribute and hasattr(scheduler, self.attribute):
            return True
        return bool(self.beginnings) and type(scheduler).__name__.startswith(self.beginnings)


PREDICTION_RULES = (
    PredictionRule(
        "preconditioned",
        "EDM schedulers mix sample and prediction by the noise level; their prediction_type is only a sign",
        attribute="precondition_outputs",
    ),
    PredictionRule(
        "flow_prediction",
        "flow matching predicts noise minus data, and its classes have no prediction_type",
        beginnings=("FlowMatch", "LTXEuler"),
    ),
)


def own_attributes(scheduler: Any) -> dict[str, Any]:
    """Return the attributes of a scheduler, without methods of it that were set as such, as watching does."""
    attributes = {}
    for name, value in vars(scheduler).items():
        if getattr(value, "__self__", None) is not scheduler:
            attributes[name] = value
    return attributes


def watched_names(scheduler: Any) -> list[str]:
    """Return the names of the methods of a scheduler that a loop may call."""
    names = ["step", "set_timesteps", *NOISE_METHODS]
    return [name for name in names if callable(getattr(scheduler, name, None))]


def has_loop(scheduler: Any) -> bool:
    """Return whether a scheduler has a step; score-based ones have a predictor and a corrector instead."""
    return callable(getattr(scheduler, "step", None))


def is_scheduler(scheduler: Any) -> bool:
    """Return whether an object steps and takes timesteps."""
    return has_loop(scheduler) and callable(getattr(scheduler, "set_timesteps", None))


def lacks_timesteps(scheduler: Any, steps: int | None) -> bool:
    """Return whether a scheduler has no timesteps yet, though it was asked for `steps`; None for not asked."""
    if TIMESTEPS.read(scheduler) is None:
        return True
    if getattr(scheduler, "custom_timesteps", False):  # which some classes take without counting them
        return False
    # a few classes do not keep the number
    return getattr(scheduler, "num_inference_steps", steps) is None


def describe_patch(scheduler: Any) -> str | None:
    """Say what to do where a method was set on a scheduler itself, which a copy would share; None where none was."""
    patched = [method for method in PATCHABLE_METHODS if method in own_attributes(scheduler)]
    if not patched:
        return None
    name = type(scheduler).__name__
    return (
        f"{patched[0]} was set on this {name} itself, so that copies of it would step the original; write a class: "
        f"class Mine({name}): def {patched[0]}(self, ...)"
    )


def describe_learned_variance(scheduler: Any) -> str | None:
    """Say what to do where a scheduler asks for a variance beside each prediction; None where it does not."""
    kind = str(VARIANCE_TYPE.read(scheduler))
    if not kind.startswith("learned"):
        return None
    name = type(scheduler).__name__
    return (
        f"variance_type={kind!r} asks for a variance beside each prediction; write {name}.from_config("
        "scheduler.config, variance_type='fixed_small') and let the denoiser return output.chunk(2, dim=1)[0], or run "
        "the pipeline that the network is from with forerun.diffusion.parallel"
    )


def prediction_kind(scheduler: Any) -> str:
    """Return what the networks of a scheduler predict: a prediction type of diffusers, or `preconditioned`."""
    for rule in PREDICTION_RULES:
        if rule.holds(scheduler):
            return rule.kind
    return str(PREDICTION_TYPE.read(scheduler))


def signal_and_noise(scheduler: Any, sigma: Any) -> tuple[float, float] | None:
    """Return how much signal and noise a noise level stands for; None where the scheduler has no rule for it."""
    # solvers of the DPM family list noise over signal, whatever their samples are
    convert = getattr(scheduler, "_sigma_to_alpha_sigma_t", None)
    if convert is None:
        return None
    signal, noise = convert(sigma)
    return float(signal), float(noise)


def scale_input(scheduler: Any, sample: Tensor, timestep: Any) -> Tensor:
    """Return a sample as a scheduler scales it for the network."""
    scale = getattr(scheduler, "scale_model_input", None)
    if scale is None:  # flow matching
        return sample
    parameters = inspect.signature(type(scheduler).scale_model_input).parameters
    scaled: Tensor = scale(sample, timestep) if len(parameters) > 2 else scale(sample)
    return scaled


def allow_unscaled_input(scheduler: Any) -> None:
    """Keep a scheduler from warning in its step that nobody let it scale the sample: scaling is left to the caller."""
    if hasattr(scheduler, "is_scale_input_called"):
        scheduler.is_scale_input_called = True


def unclipped_copy(scheduler: Any) -> Any | None:
    """Return a copy that does not clamp the denoised sample; None where a scheduler does not, or does more."""
    if not CLIPS_SAMPLE.read(scheduler) or THRESHOLDS_SAMPLE.read(scheduler):
        return None
    other = copy.deepcopy(scheduler)
    other.register_to_config(clip_sample=False)
    return other
