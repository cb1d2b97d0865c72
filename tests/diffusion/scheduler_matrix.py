"""Every scheduler of diffusers: which step plain samples, with which predictions, and why others do not."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers import schedulers
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")
STEPS = (10, 50)
SHAPE = (2, 3, 8, 8)

TOKENS = "it steps whole numbers (tokens, classes), not samples"
CARRIED = "its own pipeline carries arguments of step from step to step"
PARTIAL = "it takes no more than a few steps, from timesteps of its own"
BROWNIAN = "its Brownian tree needs torchsde, and is drawn in the shape of the first sample"
NOT_INSTALLED = {"DPMSolverSDEScheduler": BROWNIAN, "CosineDPMSolverMultistepScheduler": BROWNIAN}  # without torchsde
NOT_COVERED = {
    **NOT_INSTALLED,
    "AmusedScheduler": TOKENS,
    "BlockRefinementScheduler": TOKENS,
    "DiscreteDDIMScheduler": TOKENS,
    "EntropyBoundScheduler": TOKENS,
    "VQDiffusionScheduler": TOKENS,
    "CogVideoXDPMScheduler": CARRIED,
    "KarrasVeScheduler": CARRIED,
    "RePaintScheduler": CARRIED + ", and goes back and forth in time",
    "HeliosDMDScheduler": CARRIED,
    "HeliosScheduler": "its timesteps are set stage by stage by its own pipeline",
    "ConsistencyDecoderScheduler": PARTIAL,
    "SCMScheduler": PARTIAL,
    "DDPMWuerstchenScheduler": "its own pipeline leaves out the last of its timesteps; see the pipelines",
    "PiflowScheduler": "its networks predict several fields at once, for a shape of their own",
    "RFD4ProteinaScheduler": "it steps backbones of proteins, with arguments of its own",
    "ScoreSdeVeScheduler": "it has no step; its pipeline corrects and predicts",
    "ScoreSdeVpScheduler": "it has no step; its pipeline corrects and predicts",
}
SHORT = {"CMStochasticIterativeScheduler": "it was trained with 40 timesteps"}  # 10 steps only
DIVIDES_BY_ZERO = {("DDIMInverseScheduler", "sample")}  # in its own first step


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    name: str
    prediction: str | None
    steps: int

    def scheduler(self) -> SchedulerMixin:
        """A new one, its timesteps set."""
        kind = getattr(schedulers, self.name)
        parameters = inspect.signature(kind.__init__).parameters
        chosen = {} if self.prediction is None else {"prediction_type": self.prediction}
        if self.prediction == "flow_prediction":
            chosen["use_flow_sigmas"] = True
        assert set(chosen) <= set(parameters)
        scheduler = kind(**chosen)
        scheduler.set_timesteps(self.steps)
        return scheduler

    def __str__(self) -> str:
        return f"{self.name.removesuffix('Scheduler')}-{self.prediction or 'own'}-{self.steps}"


def names() -> list[str]:
    """The scheduler classes that diffusers exports."""
    classes = {name: getattr(schedulers, name, None) for name in dir(schedulers)}
    return [
        name
        for name, kind in sorted(classes.items())
        if isinstance(kind, type) and issubclass(kind, SchedulerMixin) and kind is not SchedulerMixin
    ]


def cells() -> Iterator[Cell]:
    """All cells that are covered: classes, predictions that they take, steps."""
    for name in names():
        if name not in NOT_COVERED:
            for prediction in predictions(name):
                yield from (Cell(name, prediction, steps) for steps in STEPS if not (name in SHORT and steps > 40))


def predictions(name: str) -> list[str | None]:
    """The predictions that a class supports; `[None]` where it has one of its own."""
    parameters = inspect.signature(getattr(schedulers, name).__init__).parameters
    if "prediction_type" not in parameters:
        return [None]
    return [entry for entry in PREDICTIONS if _supported(name, entry)]


def _supported(name: str, prediction: str) -> bool:
    parameters = inspect.signature(getattr(schedulers, name).__init__).parameters
    if (prediction == "flow_prediction" and "use_flow_sigmas" not in parameters) or (
        name,
        prediction,
    ) in DIVIDES_BY_ZERO:
        return False
    try:
        own_loop(Cell(name, prediction, 10), start(), steps=1)
    except (NotImplementedError, ValueError, KeyError):
        return False  # the class says so itself, in its constructor or its step
    return True


def start() -> Tensor:
    """Standard normal noise."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def network(x: Tensor, t: Tensor) -> Tensor:
    """Bounded, smooth, depends on all of the sample and on time; `(N, 3, 8, 8)` and `(N,)`."""
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(x[0].numel(), x[0].numel(), generator=generator) / x[0].numel() ** 0.5
    return torch.tanh(x.flatten(1) @ mixing.to(x) + 1e-3 * t.to(x)[:, None]).reshape(x.shape)


def own_loop(cell: Cell, noise: Tensor, *, steps: int | None = None, seed: int = 5) -> Tensor:
    """What the scheduler's own loop samples."""
    scheduler = cell.scheduler()
    generator = torch.Generator().manual_seed(seed)
    x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    takes = "generator" in inspect.signature(scheduler.step).parameters
    more = {"generator": generator} if takes else {}
    for t in scheduler.timesteps[:steps]:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        times = torch.as_tensor(t).reshape(1).expand(len(x))
        x = scheduler.step(network(scaled, times), t, x, **more, return_dict=False)[0]
    return x
