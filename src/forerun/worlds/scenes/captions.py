"""What a scene holds and how a caption says it: objects, relations, the grammar and the whole vocabulary."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
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
SIZE_WORDS: Mapping[str, tuple[str, ...]] = {
    "small": ("small", "little"),
    "": ("",),
    "large": ("large", "big"),
}
RELATION_PHRASES: Mapping[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "beside": ("beside", "next to", "and"),
}
INVERSE_RELATIONS = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "beside": "beside",
}
EXACT_RELATIONS = ("left of", "right of", "above", "below")
ARTICLES = ("a", "an", "the")
LAYOUTS = ("single", "row", "column")
OBJECT_LABEL_COUNTS = (len(COLOUR_WORDS), len(SHAPE_WORDS), len(SIZE_WORDS))
LABEL_COUNTS = (len(LAYOUTS), *OBJECT_LABEL_COUNTS, *OBJECT_LABEL_COUNTS)  # how many values each of `Scene.labels` has
ABSENT_LABEL = -100  # the label of an object that is not there; torch's cross entropy passes it over


def _invert_table(table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the name that every synonym of a table stands for."""
    names = {}
    for name, synonyms in table.items():
        for synonym in synonyms:
            if synonym:
                names[synonym] = name
    return names


_WORD_NAMES = {**_invert_table(COLOUR_WORDS), **_invert_table(SHAPE_WORDS), **_invert_table(SIZE_WORDS)}
_PHRASE_RELATIONS = _invert_table(RELATION_PHRASES)


@final
@dataclass(frozen=True)
class SceneObject:
    """One coloured solid of a scene; `size` is "small", "large" or "" for neither."""

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
    def from_labels(cls, labels: Sequence[int]) -> SceneObject:
        """Return the object with these `labels`."""
        colour, shape, size = labels
        return cls(list(COLOUR_WORDS)[colour], list(SHAPE_WORDS)[shape], list(SIZE_WORDS)[size])


@final
@dataclass(frozen=True)
class Scene:
    """One object, or two and where the first stands from the second (a key of `RELATION_PHRASES`)."""

    first: SceneObject
    relation: str = ""
    second: SceneObject | None = None

    @property
    def layout(self) -> str:
        """One of `LAYOUTS`."""
        if self.second is None:
            return "single"
        if self.relation in {"above", "below"}:
            return "column"
        return "row"

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """The objects in reading order of the picture: left before right, upper before lower."""
        if self.second is None:
            return (self.first,)
        if self.relation in {"right of", "below"}:
            return (self.second, self.first)
        return (self.first, self.second)

    @property
    def labels(self) -> tuple[int, ...]:
        """Layout, then colour, shape and size of both `objects`: seven numbers, `ABSENT_LABEL` where there is none."""
        labels = [LAYOUTS.index(self.layout)]
        for scene_object in self.objects:
            labels.extend(scene_object.labels)
        labels.extend([ABSENT_LABEL] * (len(LABEL_COUNTS) - len(labels)))
        return tuple(labels)

    def swap_roles(self) -> Scene:
        """Return the same picture described from the other object; the scene itself where there is one."""
        if self.second is None:
            return self
        return Scene(self.second, INVERSE_RELATIONS[self.relation], self.first)


def draw_scene(rng: random.Random) -> Scene:
    """Return a random scene: a quarter has one object, the others two in one of the four exact relations."""
    if rng.random() < 0.25:
        return Scene(_draw_object(rng))
    relation = rng.choice(EXACT_RELATIONS)
    first = _draw_object(rng)
    second = _draw_object(rng)
    return Scene(first, relation, second)


def write_caption(scene: Scene, rng: random.Random) -> str:
    """Return one of the captions of a scene; now and then a row is described without its order ("beside")."""
    if rng.random() < 0.3:
        scene = scene.swap_roles()
    first = _write_noun(scene.first, rng)
    if scene.second is None:
        return first
    relation = scene.relation
    if scene.layout == "row" and rng.random() < 0.08:
        relation = "beside"
    phrase = rng.choice(RELATION_PHRASES[relation])
    second = _write_noun(scene.second, rng)
    return f"{first} {phrase} {second}"


def parse_caption(prompt: str) -> Scene:
    """Return the scene that a caption describes; case and punctuation do not matter.

    Raises:
        ValueError: a word is unknown, or the words are not "[size] colour shape [relation [size] colour shape]".
    """
    unknown = unknown_words(prompt)
    if unknown:
        vocabulary = ", ".join(caption_words())
        raise ValueError(f"unknown words in {prompt!r}: {', '.join(unknown)}; the known ones are {vocabulary}")
    text = f" {' '.join(_split_words(prompt))} "
    # the longest phrase first, since "left of" is inside "to the left of"
    for phrase in sorted(_PHRASE_RELATIONS, key=len, reverse=True):
        before, separator, after = text.partition(f" {phrase} ")
        if separator:
            first = _parse_object(before, prompt)
            second = _parse_object(after, prompt)
            return Scene(first, _PHRASE_RELATIONS[phrase], second)
    return Scene(_parse_object(text, prompt))


def unknown_words(prompt: str) -> list[str]:
    """Return the words of a prompt that no caption has, in their order and once each."""
    vocabulary = set(caption_words())
    unknown = [word for word in _split_words(prompt) if word not in vocabulary]
    return list(dict.fromkeys(unknown))


def caption_words() -> list[str]:
    """Return the whole vocabulary, sorted."""
    vocabulary = {*ARTICLES, *_WORD_NAMES}
    for phrase in _PHRASE_RELATIONS:
        vocabulary.update(phrase.split())
    return sorted(vocabulary)


def _split_words(prompt: str) -> list[str]:
    return re.findall(r"[^\W_]+", prompt.lower())


def _draw_object(rng: random.Random) -> SceneObject:
    size = rng.choices(list(SIZE_WORDS), weights=[1, 2, 1])[0]
    colour = rng.choice(list(COLOUR_WORDS))
    shape = rng.choice(list(SHAPE_WORDS))
    return SceneObject(colour, shape, size)


def _write_noun(scene_object: SceneObject, rng: random.Random) -> str:
    """Return one of the ways to name an object, with or without an article."""
    size = rng.choice(SIZE_WORDS[scene_object.size])
    colour = rng.choice(COLOUR_WORDS[scene_object.colour])
    shape = rng.choice(SHAPE_WORDS[scene_object.shape])
    noun = f"{size} {colour} {shape}".strip()
    indefinite = "an" if noun[0] in "aeiou" else "a"
    article = rng.choices([indefinite, "the", ""], weights=[4, 1, 1])[0]
    return f"{article} {noun}".strip()


def _parse_object(text: str, prompt: str) -> SceneObject:
    """Return the object that a piece of a prompt names."""
    names = [_WORD_NAMES.get(word, word) for word in text.split() if word not in ARTICLES]
    size = ""
    if names and names[0] in SIZE_WORDS:
        size = names.pop(0)
    if len(names) == 2 and names[0] in COLOUR_WORDS and names[1] in SHAPE_WORDS:
        colour, shape = names
        return SceneObject(colour, shape, size)
    raise ValueError(
        f"{prompt!r} does not name a thing as [size] colour shape where it says {text.strip()!r}; "
        "write for example 'a small red torus left of a blue cube'"
    )
