"""Words of the commands of robots, and the objects that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from forerun.policy.modes import RTI, Deadline, Exact, Mode, Warm
from forerun.policy.robots import tasks
from forerun.policy.robots.environment import INSTALL, Task
from forerun.policy.robots.train import LARGE, MEDIUM, SMALL, UNET, Size


def _ddpm(trained: Any) -> Any:
    return trained


def _ddim(trained: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(trained.config)


GRIPPER = (3,)  # the number of an action that RTI takes for open or closed
TASKS: dict[str, Task] = {each.name: each for each in (tasks.PICK_PLACE, tasks.PILLAR, tasks.PEG_INSERT, tasks.PUSH)}
SIZES: dict[str, Size] = {"small": SMALL, "medium": MEDIUM, "large": LARGE, "unet": UNET}
PREDICTIONS = {"sample": "sample", "epsilon": "epsilon"}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {"ddpm": _ddpm, "ddim": _ddim}  # from that of the training
MODES: dict[str, Callable[[float, float], Mode]] = {  # from the milliseconds of a tick, and the gripper's divisor
    "exact": lambda deadline, gripper: Exact(),
    "warm": lambda deadline, gripper: Warm(),
    "deadline": lambda deadline, gripper: Deadline(deadline),
    # a policy whose gripper was not divided in the training has its guess clipped
    "rti": lambda deadline, gripper: RTI(3, GRIPPER, scale=max(gripper, 10.0), clip=gripper == 1),
}


def task(word: str) -> Task:
    """The task of a word.

    Raises:
        ValueError: it is not known; the message lists the tasks.
        ImportError: Meta-World is not installed.
    """
    if word not in TASKS:
        raise ValueError(f"there is no task {word}; choose from {', '.join(TASKS)}")
    if find_spec("metaworld") is None or find_spec("mujoco") is None:
        raise ImportError(INSTALL)
    if find_spec("diffusers") is None:
        raise ImportError("policies are sampled with a scheduler of diffusers: pip install 'forerun[robots]'")
    return TASKS[word]
