"""Words of the commands of robots, and the objects that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from forerun.policy.modes import RTI, Deadline, Exact, Mode, Warm
from forerun.worlds.robots import tasks
from forerun.worlds.robots.environment import RobotTask
from forerun.worlds.robots.train import LARGE_POLICY, MEDIUM_POLICY, SMALL_POLICY, UNET_POLICY, PolicySize


def _ddpm(trained: Any) -> Any:
    return trained


def _ddim(trained: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(trained.config)


KNOWN = (tasks.PICK_PLACE, tasks.PILLAR, tasks.PEG_INSERT, tasks.PUSH, tasks.PUSH_T)
TASKS: dict[str, RobotTask] = {each.name: each for each in KNOWN}
SIZES: dict[str, PolicySize] = {
    "small": SMALL_POLICY,
    "medium": MEDIUM_POLICY,
    "large": LARGE_POLICY,
    "unet": UNET_POLICY,
}
PREDICTIONS = {"sample": "sample", "epsilon": "epsilon"}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {"ddpm": _ddpm, "ddim": _ddim}  # from that of the training
# from the milliseconds of a tick, the gripper's divisor, and which numbers of an action are grippers
MODES: dict[str, Callable[[float, float, Sequence[int]], Mode]] = {
    "exact": lambda deadline, gripper, grippers: Exact(),
    "warm": lambda deadline, gripper, grippers: Warm(),
    "deadline": lambda deadline, gripper, grippers: Deadline(deadline),
    # a policy whose gripper was not divided in the training has its guess clipped
    "rti": lambda deadline, gripper, grippers: RTI(3, grippers, scale=max(gripper, 10.0), clip=gripper == 1),
}


def task(word: str) -> RobotTask:
    """The task of a word.

    Raises:
        ValueError: it is not known; the message lists the tasks.
        ImportError: what it needs is not installed.
    """
    if word not in TASKS:
        raise ValueError(f"there is no task {word}; choose from {', '.join(TASKS)}")
    if any(find_spec(package) is None for package in TASKS[word].packages):
        raise ImportError(TASKS[word].install)
    if find_spec("diffusers") is None:
        raise ImportError("policies are sampled with a scheduler of diffusers: pip install 'forerun[robots]'")
    return TASKS[word]
