"""Words of the command line, and the objects that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

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

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Sampler:
    """A sampler of digits, its usual number of steps, and the guess that suits it."""

    name: str
    steps: int
    eta: float
    guess: Guess


SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler("DDIM", 100, eta=0.0, guess=Probe(8)),
    "ddpm": Sampler("DDPM", 1000, eta=1.0, guess=Hold()),
}
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
DTYPES: dict[str, torch.dtype] = {each: getattr(torch, each) for each in ("float32", "float16", "bfloat16")}
SCHEDULERS: dict[str, str] = {  # the class of diffusers
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


def choose(word: str, known: Mapping[str, Thing], option: str) -> Thing:
    """What a word stands for.

    Raises:
        ValueError: it is not known; the message lists the words that are.
    """
    if word not in known:
        raise ValueError(f"{option} {word} is not known; choose from {', '.join(known)}")
    return known[word]


def window(word: str) -> Window:
    """The window of a word or a number.

    Raises:
        ValueError: it is neither.
    """
    if word.isdecimal() and int(word):
        return Sliding(int(word))
    if word not in WINDOWS:
        raise ValueError(f"--window {word} is not known; choose from {', '.join(WINDOWS)}, or a number such as 100")
    return WINDOWS[word]


def scheduler(word: str) -> str:
    """The name of the scheduler class that a word stands for; a name of a class stands for itself.

    Raises:
        ValueError: it is neither.
    """
    if re.fullmatch(r"[A-Za-z]\w*Scheduler", word):
        return word
    known = {_bare(name): found for name, found in SCHEDULERS.items()}
    if _bare(word) not in known:
        raise ValueError(
            f"--scheduler {word!r} is not known; choose from {', '.join(SCHEDULERS)}, or name a scheduler class of "
            "diffusers, such as DDIMScheduler"
        )
    return known[_bare(word)]


def _bare(word: str) -> str:
    """Without case, spaces and dashes, which everyone writes in another way."""
    return re.sub(r"[\s_-]", "", word).lower()


def device(word: str) -> torch.device:
    """The device of a word, if this machine has it.

    Raises:
        ValueError: it has not.
    """
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    name = "cuda:0" if word == "cuda" else word
    if name not in found:
        raise ValueError(f"--device {word} is not on this machine; choose from {', '.join(found)}")
    return torch.device(name)
