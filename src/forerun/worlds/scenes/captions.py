"""What a scene holds and how it is said: things, relations, the grammar of captions and its whole vocabulary."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("red",),
    "green": ("green",),
    "blue": ("blue",),
    "yellow": ("yellow",),
    "orange": ("orange",),
    "purple": ("purple",),
    "cyan": ("cyan", "turquoise"),
    "grey": ("grey", "gray"),
}
SHAPE_WORDS: Mapping[str, tuple[str, ...]] = {
    "sphere": ("sphere", "ball"),
    "cube": ("cube", "box"),
    "cone": ("cone",),
    "cylinder": ("cylinder",),
    "torus": ("torus", "ring"),
    "pyramid": ("pyramid",),
}
SIZE_WORDS: Mapping[str, tuple[str, ...]] = {"small": ("small", "little"), "": ("",), "large": ("large", "big")}
RELATION_PHRASES: Mapping[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "beside": ("beside", "next to", "and"),
}
CAPTION_ARTICLES = ("a", "an", "the")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "beside": "beside"}
LAYOUTS = ("single", "row", "column")
LABEL_COUNTS = (
    len(LAYOUTS),
    *2 * (len(COLOUR_WORDS), len(SHAPE_WORDS), len(SIZE_WORDS)),
)  # how many values each of `Scene.labels` has
ABSENT_LABEL = -100  # the label of a thing that is not there; torch's cross entropy passes it over

_MEANING = {
    word: name
    for table in (COLOUR_WORDS, SHAPE_WORDS, SIZE_WORDS)
    for name, words in table.items()
    for word in words
    if word
}
_PHRASES = {phrase: name for name, phrases in RELATION_PHRASES.items() for phrase in phrases}


@final
@dataclass(frozen=True)
class SceneObject:
    """One coloured solid; `size` is "small", "large" or "" for neither."""

    colour: str
    shape: str
    size: str = ""

    @property
    def labels(self) -> tuple[int, int, int]:
        """Positions in `COLOUR_WORDS`, `SHAPE_WORDS` and `SIZE_WORDS`."""
        return (
            list(COLOUR_WORDS).index(self.colour),
            list(SHAPE_WORDS).index(self.shape),
            list(SIZE_WORDS).index(self.size),
        )

    @classmethod
    def of(cls, labels: Sequence[int]) -> SceneObject:
        """The thing with these `labels`."""
        return cls(list(COLOUR_WORDS)[labels[0]], list(SHAPE_WORDS)[labels[1]], list(SIZE_WORDS)[labels[2]])


@final
@dataclass(frozen=True)
class Scene:
    """One thing, or two and where the first stands from the second (a key of `RELATION_PHRASES`)."""

    first: SceneObject
    relation: str = ""
    second: SceneObject | None = None

    @property
    def layout(self) -> str:
        """One of `LAYOUTS`."""
        if self.second is None:
            return "single"
        return "column" if self.relation in {"above", "below"} else "row"

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """In reading order of the picture: left before right, upper before lower."""
        if self.second is None:
            return (self.first,)
        pair = (self.first, self.second)
        return pair[::-1] if self.relation in {"right of", "below"} else pair

    @property
    def labels(self) -> tuple[int, ...]:
        """Layout, then colour, shape and size of each of `objects`; seven numbers, `ABSENT_LABEL` for none."""
        present = [label for thing in self.objects for label in thing.labels]
        return (LAYOUTS.index(self.layout), *present, *[ABSENT_LABEL] * (6 - len(present)))

    def reversed(self) -> Scene:
        """The same picture said from the other thing; itself where there is one."""
        return self if self.second is None else Scene(self.second, INVERSE[self.relation], self.first)


def draw_scene(dice: random.Random) -> Scene:
    """A random scene: a quarter has one thing, the others two in one of the four exact relations."""
    if dice.random() < 0.25:
        return Scene(_draw_thing(dice))
    relation = dice.choice(["left of", "right of", "above", "below"])
    return Scene(_draw_thing(dice), relation, _draw_thing(dice))


def write_caption(scene: Scene, dice: random.Random) -> str:
    """One of the ways to say a scene; now and then a row is said without its order ("beside")."""
    if dice.random() < 0.3:
        scene = scene.reversed()
    first = _noun(scene.first, dice)
    if scene.second is None:
        return first
    loosely = scene.layout == "row" and dice.random() < 0.08
    phrase = dice.choice(RELATION_PHRASES["beside" if loosely else scene.relation])
    return f"{first} {phrase} {_noun(scene.second, dice)}"


def parse_caption(prompt: str) -> Scene:
    """The scene that a caption describes; case and punctuation do not matter.

    Raises:
        ValueError: a word is unknown, or the words are not "[size] colour shape [relation [size] colour shape]".
    """
    if unknown := unknown_words(prompt):
        raise ValueError(
            f"unknown words in {prompt!r}: {', '.join(unknown)}; the known ones are {', '.join(caption_words())}"
        )
    text = " ".join(_split(prompt))
    # the longest phrase first, since "left of" is inside "to the left of"
    for phrase in sorted(_PHRASES, key=len, reverse=True):
        before, found, after = f" {text} ".partition(f" {phrase} ")
        if found:
            return Scene(_thing(before, prompt), _PHRASES[phrase], _thing(after, prompt))
    return Scene(_thing(text, prompt))


def unknown_words(prompt: str) -> list[str]:
    """The words of a prompt that no caption has, in their order and once each."""
    known = set(caption_words())
    return list(dict.fromkeys(word for word in _split(prompt) if word not in known))


def caption_words() -> list[str]:
    """The whole vocabulary, sorted."""
    return sorted(set(_listed()))


def _listed() -> Iterator[str]:
    yield from CAPTION_ARTICLES
    yield from _MEANING
    for phrase in _PHRASES:
        yield from phrase.split()


def _split(prompt: str) -> list[str]:
    return re.findall(r"[^\W_]+", prompt.lower())


def _draw_thing(dice: random.Random) -> SceneObject:
    size = dice.choices(list(SIZE_WORDS), weights=[1, 2, 1])[0]
    return SceneObject(dice.choice(list(COLOUR_WORDS)), dice.choice(list(SHAPE_WORDS)), size)


def _noun(thing: SceneObject, dice: random.Random) -> str:
    named = [
        dice.choice(SIZE_WORDS[thing.size]),
        dice.choice(COLOUR_WORDS[thing.colour]),
        dice.choice(SHAPE_WORDS[thing.shape]),
    ]
    said = " ".join(word for word in named if word)
    article = dice.choices(["an" if said[0] in "aeiou" else "a", "the", ""], weights=[4, 1, 1])[0]
    return f"{article} {said}".strip()


def _thing(said: str, prompt: str) -> SceneObject:
    named = [_MEANING.get(word, word) for word in said.split() if word not in CAPTION_ARTICLES]
    size = named.pop(0) if named and named[0] in SIZE_WORDS else ""
    if len(named) != 2 or named[0] not in COLOUR_WORDS or named[1] not in SHAPE_WORDS:
        raise ValueError(
            f"{prompt!r} does not name a thing as [size] colour shape where it says {said.strip()!r}; "
            "write for example 'a small red torus left of a blue cube'"
        )
    return SceneObject(named[0], named[1], size)
