"""The things that the shipped prior knows: shapes, colours, and how a prompt names one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

SHAPES: Mapping[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball"),
    "cube": ("cube", "box"),
    "cone": ("cone",),
    "cylinder": ("cylinder",),
    "torus": ("torus", "ring"),
    "pyramid": ("pyramid",),
    "snowman": ("snowman",),
    "mug": ("mug", "cup"),
}
COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.12),
    "green": (0.13, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.52, 0.15, 0.68),
    "cyan": (0.12, 0.78, 0.80),
}
ARTICLES = ("a", "an", "the")

_SHAPE = {word: shape for shape, words in SHAPES.items() for word in words}


@final
@dataclass(frozen=True)
class Thing:
    """One coloured solid: a key of `COLOURS` and a key of `SHAPES`."""

    colour: str
    shape: str

    @property
    def labels(self) -> tuple[int, int]:
        """Positions in `COLOURS` and `SHAPES`."""
        return list(COLOURS).index(self.colour), list(SHAPES).index(self.shape)

    @property
    def rgb(self) -> tuple[float, float, float]:
        """The colour of its surface, in [0, 1]."""
        return COLOURS[self.colour]

    def said(self) -> str:
        """Its prompt."""
        return f"a {self.colour} {self.shape}"


def parse(prompt: str) -> Thing:
    """The thing that a prompt names; case, punctuation and articles do not matter.

    Raises:
        ValueError: the prompt is not a known colour and a known shape.
    """
    said = [word for word in re.findall(r"[^\W_]+", prompt.lower()) if word not in ARTICLES]
    if len(said) == 2 and said[0] in COLOURS and said[1] in _SHAPE:
        return Thing(said[0], _SHAPE[said[1]])
    raise ValueError(
        f"{prompt!r} is not a colour and a shape that the shipped prior has seen; the colours are "
        f"{', '.join(COLOURS)}, the shapes {', '.join(_SHAPE)}. Write for example 'a yellow cone'"
    )


def every() -> list[Thing]:
    """All things there are, by shape."""
    return [Thing(colour, shape) for shape in SHAPES for colour in COLOURS]


def caption(thing: Thing, dice: random.Random) -> str:
    """One of the ways to say a thing."""
    said = f"{thing.colour} {dice.choice(SHAPES[thing.shape])}"
    return f"{dice.choice(['a', 'a', 'the', ''])} {said}".strip()


def words() -> list[str]:
    """The whole vocabulary, sorted."""
    return sorted({*ARTICLES, *COLOURS, *_SHAPE})
