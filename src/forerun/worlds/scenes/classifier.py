"""A small network that reads a scene's facts from its picture, to measure what a pipeline drew."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import final

import torch
from safetensors.torch import load
from torch import Tensor, nn

from forerun.worlds.scenes.captions import LABEL_COUNTS, LAYOUTS, Scene, SceneObject

CLASSIFIER_FEATURES = 128


@final
class SceneClassifier(nn.Module):
    """Layout, then colour, shape and size of up to two things. It never sees the pipeline in its training.

    Calls take pictures in [0, 1], `(N, 3, 64, 64)`, and return logits, `(N, sum(LABEL_COUNTS))`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(3, 24, 2),
            _conv(24, 48, 2),
            _conv(48, 96, 2),
            _conv(96, 96, 2),
            nn.Flatten(),
            nn.Linear(96 * 16, CLASSIFIER_FEATURES),
            nn.SiLU(),
        )
        self.heads = nn.Linear(CLASSIFIER_FEATURES, sum(LABEL_COUNTS))

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.heads(self.features(pictures))
        return logits

    def features(self, pictures: Tensor) -> Tensor:
        """What the answers are read from, `(N, 128)`; two sets of pictures can be compared by its mean and spread."""
        features: Tensor = self.body(2 * pictures - 1)
        return features

    @torch.no_grad()
    def read_scenes(self, pictures: Tensor) -> list[Scene]:
        """The most likely scene of each picture; two things are told as "left of" or "above"."""
        best = [logits.argmax(-1).tolist() for logits in self(pictures).split(LABEL_COUNTS, -1)]
        return [_scene(labels) for labels in zip(*best, strict=True)]


def measure_agreement(asked: Sequence[Scene], seen: Sequence[Scene]) -> dict[str, float]:
    """Shares of right answers: `layout` of the pictures, `colour`, `shape` and `size` of their things, and `all`.

    A thing counts at its place, so a swapped pair has wrong colours. `all` leaves out the size.
    """
    pairs = [(want, _ordered(want, have)) for want, have in zip(asked, seen, strict=True)]
    things = [couple for want, have in pairs for couple in _couples(want, have)]
    whole = [
        want.layout == have.layout
        and all(a.colour == b.colour and a.shape == b.shape for a, b in zip(want.objects, have.objects, strict=True))
        for want, have in pairs
    ]
    return {
        "layout": sum(want.layout == have.layout for want, have in pairs) / len(pairs),
        "colour": sum(a.colour == b.colour for a, b in things) / len(things),
        "shape": sum(a.shape == b.shape for a, b in things) / len(things),
        "size": sum(a.size == b.size for a, b in things) / len(things),
        "all": sum(whole) / len(pairs),
    }


def load_scene_classifier() -> SceneClassifier:
    """The trained classifier shipped with forerun, in float32, ready to evaluate."""
    file = resources.files("forerun.worlds.scenes") / "weights" / "classifier.safetensors"
    classifier = SceneClassifier()
    classifier.load_state_dict({name: tensor.float() for name, tensor in load(file.read_bytes()).items()})
    return classifier.eval().requires_grad_(False)


def _conv(inward: int, outward: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inward, outward, 3, stride, 1), nn.GroupNorm(8, outward), nn.SiLU())


def _scene(labels: Sequence[int]) -> Scene:
    first, second = SceneObject.of(labels[1:4]), SceneObject.of(labels[4:7])
    layout = LAYOUTS[labels[0]]
    return Scene(first) if layout == "single" else Scene(first, "left of" if layout == "row" else "above", second)


def _couples(asked: Scene, seen: Scene) -> list[tuple[SceneObject, SceneObject]]:
    """Things at the same place; one that was not drawn is coupled with one that matches nothing."""
    drawn = [*seen.objects, SceneObject("", "", "none")][: len(asked.objects)]
    return list(zip(asked.objects, drawn, strict=True))


def _ordered(asked: Scene, seen: Scene) -> Scene:
    """`seen`, swapped where "beside" leaves the order open and the swap agrees better."""
    if asked.relation != "beside" or seen.second is None:
        return seen
    swapped = Scene(seen.second, seen.relation, seen.first)
    return max(seen, swapped, key=lambda scene: sum(a == b for a, b in zip(asked.objects, scene.objects, strict=True)))
