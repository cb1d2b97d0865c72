"""The words of the command line, and the objects that they stand for: all dictionaries in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import torch

from forerun.engine.guesses import Guess, Hold, Probe
from forerun.engine.methods import (
    Anderson,
    Elk,
    GaussSeidel,
    Jacobi,
    Method,
    Newton,
    Parareal,
    Picard,
    QuasiNewton,
    Secant,
    Sequential,
)
from forerun.engine.windows import Auto, Full, Sliding, Window
from forerun.policy.modes import RTI, Deadline, Exact, Mode, Warm
from forerun.worlds.robots import tasks
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.train import LARGE_POLICY, MEDIUM_POLICY, SMALL_POLICY, UNET_POLICY, PolicySize

Meaning = TypeVar("Meaning")


@dataclass(frozen=True)
class DigitsSampler:
    """A sampler of digits, its usual number of steps, and the guess that suits it."""

    name: str
    steps: int
    eta: float
    guess: Guess


METHODS: dict[str, Method] = {
    "secant": Secant(),
    "picard": Picard(),
    "anderson": Anderson(),
    "quasi-newton": QuasiNewton(),
    "newton": Newton(),
    "elk": Elk(),
    "jacobi": Jacobi(),
    "parareal": Parareal(10),
    "gauss-seidel": GaussSeidel(10),
    "sequential": Sequential(),
}
WINDOWS: dict[str, Window] = {"auto": Auto(), "full": Full()}
GUESSES: dict[str, Guess] = {"hold": Hold(), "probe": Probe(8)}
DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

DIGITS_SAMPLERS: dict[str, DigitsSampler] = {
    "ddim": DigitsSampler("DDIM", 100, eta=0.0, guess=GUESSES["probe"]),
    "ddpm": DigitsSampler("DDPM", 1000, eta=1.0, guess=GUESSES["hold"]),
}

PIPELINE_SCHEDULERS: dict[str, str] = {  # the class of diffusers
    "DDIM": "DDIMScheduler",
    "DDPM": "DDPMScheduler",
    "DEIS": "DEISMultistepScheduler",
    "DPM++ 2M": "DPMSolverMultistepScheduler",
    "DPM++ 2S": "DPMSolverSinglestepScheduler",
    "DPM++ SDE": "DPMSolverSDEScheduler",
    "DPM2": "KDPM2DiscreteScheduler",
    "DPM2 a": "KDPM2AncestralDiscreteScheduler",
    "Euler": "EulerDiscreteScheduler",
    "Euler a": "EulerAncestralDiscreteScheduler",
    "Flow Euler": "FlowMatchEulerDiscreteScheduler",
    "Flow Heun": "FlowMatchHeunDiscreteScheduler",
    "Heun": "HeunDiscreteScheduler",
    "iPNDM": "IPNDMScheduler",
    "LCM": "LCMScheduler",
    "LMS": "LMSDiscreteScheduler",
    "PNDM": "PNDMScheduler",
    "SA-Solver": "SASolverScheduler",
    "TCD": "TCDScheduler",
    "UniPC": "UniPCMultistepScheduler",
}


def _same_scheduler(trained: Any) -> Any:
    return trained


def _ddim_scheduler(trained: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(trained.config)


def _exact_mode(deadline: float, gripper: float, grippers: Sequence[int]) -> Mode:
    return Exact()


def _warm_mode(deadline: float, gripper: float, grippers: Sequence[int]) -> Mode:
    return Warm()


def _deadline_mode(deadline: float, gripper: float, grippers: Sequence[int]) -> Mode:
    return Deadline(deadline)


def _rti_mode(deadline: float, gripper: float, grippers: Sequence[int]) -> Mode:
    # a policy whose gripper was not divided in the training has its guess clipped
    return RTI(3, grippers, scale=max(gripper, 10.0), clip=gripper == 1)


ROBOT_TASKS: dict[str, RobotTask] = {
    task.name: task for task in (tasks.PICK_PLACE, tasks.PILLAR, tasks.PEG_INSERT, tasks.PUSH, tasks.PUSH_T)
}
POLICY_SIZES: dict[str, PolicySize] = {
    "small": SMALL_POLICY,
    "medium": MEDIUM_POLICY,
    "large": LARGE_POLICY,
    "unet": UNET_POLICY,
}
PREDICTIONS = {"sample": "sample", "epsilon": "epsilon"}
POLICY_SCHEDULERS: dict[str, Callable[[Any], Any]] = {  # from the scheduler of the training
    "ddpm": _same_scheduler,
    "ddim": _ddim_scheduler,
}
# from the milliseconds of a tick, the gripper's divisor, and which numbers of an action are grippers
MODES: dict[str, Callable[[float, float, Sequence[int]], Mode]] = {
    "exact": _exact_mode,
    "warm": _warm_mode,
    "deadline": _deadline_mode,
    "rti": _rti_mode,
}


def choose_word(word: str, meanings: Mapping[str, Meaning], option: str) -> Meaning:
    """Return what a word stands for.

    Raises:
        ValueError: it is not known; the message lists the words that are.
    """
    if word not in meanings:
        raise ValueError(f"{option} {word} is not known; choose from {', '.join(meanings)}")
    return meanings[word]


def parse_window(word: str) -> Window:
    """Return the window of a word or a number.

    Raises:
        ValueError: it is neither.
    """
    if word.isdecimal() and int(word):
        return Sliding(int(word))
    if word not in WINDOWS:
        raise ValueError(f"--window {word} is not known; choose from {', '.join(WINDOWS)}, or a number such as 100")
    return WINDOWS[word]


def find_device(word: str) -> torch.device:
    """Return the device of a word, if this machine has it.

    Raises:
        ValueError: it has not.
    """
    names = ["cpu"]
    names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    name = "cuda:0" if word == "cuda" else word
    if name not in names:
        raise ValueError(f"--device {word} is not on this machine; choose from {', '.join(names)}")
    return torch.device(name)


def find_scheduler(word: str) -> str:
    """Return the name of the scheduler class that a word stands for; a name of a class stands for itself.

    Raises:
        ValueError: it is neither.
    """
    if re.fullmatch(r"[A-Za-z]\w*Scheduler", word):
        return word
    names = {_plain_word(name): scheduler for name, scheduler in PIPELINE_SCHEDULERS.items()}
    if _plain_word(word) not in names:
        raise ValueError(
            f"--scheduler {word!r} is not known; choose from {', '.join(PIPELINE_SCHEDULERS)}, or name a scheduler "
            "class of diffusers, such as DDIMScheduler"
        )
    return names[_plain_word(word)]


def find_task(word: str) -> RobotTask:
    """Return the task of a word.

    Raises:
        ValueError: it is not known; the message lists the tasks.
        ImportError: what it needs is not installed.
    """
    if word not in ROBOT_TASKS:
        raise ValueError(f"there is no task {word}; choose from {', '.join(ROBOT_TASKS)}")
    task = ROBOT_TASKS[word]
    if any(find_spec(package) is None for package in task.packages):
        raise ImportError(task.install)
    if find_spec("diffusers") is None:
        raise ImportError("policies are sampled with a scheduler of diffusers: pip install 'forerun[robots]'")
    return task


def _plain_word(word: str) -> str:
    """Return a word without case, spaces and dashes, which everyone writes in another way."""
    return re.sub(r"[\s_-]", "", word).lower()
