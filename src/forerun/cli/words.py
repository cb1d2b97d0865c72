"""Words of the command line, and the objects that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from forerun.engine.guess import Guess, Hold, Probe
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
from forerun.engine.window import Auto, Full, Sliding, Window

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
