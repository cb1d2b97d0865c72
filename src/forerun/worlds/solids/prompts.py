"""The solids that the shipped prior knows: shapes, colours, and how a prompt names one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from forerun.worlds.scenes.captions import ARTICLES

SHAPE_NAMES: Mapping[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball"),
    "cube": ("cube", "box"),
    "cone": ("cone",),
    "cylinder": ("cylinder",),
    "torus": ("torus", "ring"),
    "pyramid": ("pyramid",),
    "snowman": ("snowman",),
    "mug": ("mug", "cup"),
}
SOLID_COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.12),
    "green": (0.13, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.52, 0.15, 0.68),
    "cyan": (0.12, 0.78, 0.80),
}

_SHAPE_OF_NAME = {name: shape for shape, names in SHAPE_NAMES.items() for name in names}


@final
@dataclass(frozen=True)
class ColouredSolid:
    """One coloured solid: a key of `SOLID_COLOURS` and a key of `SHAPE_NAMES`."""

    colour: str
    shape: str

    @property
    def labels(self) -> tuple[int, int]:
        """Positions in `SOLID_COLOURS` and `SHAPE_NAMES`."""
        return list(SOLID_COLOURS).index(self.colour), list(SHAPE_NAMES).index(self.shape)

    @property
    def rgb(self) -> tuple[float, float, float]:
        """The colour of its surface, in [0, 1]."""
        return SOLID_COLOURS[self.colour]

    @property
    def prompt(self) -> str:
        """The prompt that names it."""
        return f"a {self.colour} {self.shape}"


def parse_prompt(prompt: str) -> ColouredSolid:
    """Return the solid that a prompt names; case, punctuation and articles do not matter.

    Raises:
        ValueError: the prompt is not a known colour and a known shape.
    """
    words = [word for word in re.findall(r"[^\W_]+", prompt.lower()) if word not in ARTICLES]
    if len(words) == 2 and words[0] in SOLID_COLOURS and words[1] in _SHAPE_OF_NAME:
        colour, name = words
        return ColouredSolid(colour, _SHAPE_OF_NAME[name])
    raise ValueError(
        f"{prompt!r} is not a colour and a shape that the shipped prior has seen; the colours are "
        f"{', '.join(SOLID_COLOURS)}, the shapes {', '.join(_SHAPE_OF_NAME)}. Write for example 'a yellow cone'"
    )


def all_solids() -> list[ColouredSolid]:
    """Return all solids there are, by shape."""
    return [ColouredSolid(colour, shape) for shape in SHAPE_NAMES for colour in SOLID_COLOURS]


def write_prompt(solid: ColouredSolid, rng: random.Random) -> str:
    """Return one of the ways to name a solid."""
    name = rng.choice(SHAPE_NAMES[solid.shape])
    article = rng.choice(["a", "a", "the", ""])
    return f"{article} {solid.colour} {name}".strip()


def prompt_words() -> list[str]:
    """Return the whole vocabulary, sorted."""
    return sorted({*ARTICLES, *SOLID_COLOURS, *_SHAPE_OF_NAME})
