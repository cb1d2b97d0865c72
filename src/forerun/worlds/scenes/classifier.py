"""A small network that reads a scene's facts from its picture, to measure what a pipeline drew."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import final

import torch
from torch import Tensor, nn

from forerun.worlds.scenes.captions import LABEL_COUNTS, LAYOUTS, Scene, SceneObject
from forerun.worlds.weights import fill_network

CLASSIFIER_FEATURES = 128
MISSING_OBJECT = SceneObject("", "", "none")  # stands where nothing was drawn, and matches no object


@final
class SceneClassifier(nn.Module):
    """A network that recognises the layout, then colour, shape and size of up to two objects.

    It never sees the pipeline in its training. Calls take pictures in [0, 1], `(N, 3, 64, 64)`, and return logits,
    `(N, sum(LABEL_COUNTS))`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution_block(3, 24),
            _convolution_block(24, 48),
            _convolution_block(48, 96),
            _convolution_block(96, 96),
            nn.Flatten(),
            nn.Linear(96 * 16, CLASSIFIER_FEATURES),
            nn.SiLU(),
        )
        self.heads = nn.Linear(CLASSIFIER_FEATURES, sum(LABEL_COUNTS))

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.heads(self.extract_features(pictures))
        return logits

    def extract_features(self, pictures: Tensor) -> Tensor:
        """Return what the answers are read from, `(N, 128)`; its mean and spread compare two sets of pictures."""
        features: Tensor = self.body(2 * pictures - 1)
        return features

    @torch.no_grad()
    def read_scenes(self, pictures: Tensor) -> list[Scene]:
        """Return the most likely scene of each picture; two objects are described as "left of" or "above"."""
        columns = [logits.argmax(-1) for logits in self(pictures).split(LABEL_COUNTS, -1)]
        return [_scene_from_labels(labels) for labels in torch.stack(columns, 1).tolist()]


def measure_agreement(
    expected: Sequence[Scene],
    recognised: Sequence[Scene],
) -> dict[str, float]:
    """Return the shares of right answers.

    An object counts at its place, so a swapped pair has wrong colours.

    Args:
        expected: the scenes that the prompts describe.
        recognised: the scenes that were read from the pictures.

    Returns:
        `layout` of the pictures, `colour`, `shape` and `size` of their objects, and `all` for pictures that are right
        in everything but the size.
    """
    scenes: list[tuple[Scene, Scene]] = []
    objects: list[tuple[SceneObject, SceneObject]] = []
    for truth, answer in zip(expected, recognised, strict=True):
        ordered = _best_order(truth, answer)
        scenes.append((truth, ordered))
        objects.extend(_pair_objects(truth, ordered))
    return {
        "layout": _share([truth.layout == answer.layout for truth, answer in scenes]),
        "colour": _share([truth.colour == answer.colour for truth, answer in objects]),
        "shape": _share([truth.shape == answer.shape for truth, answer in objects]),
        "size": _share([truth.size == answer.size for truth, answer in objects]),
        "all": _share([_match_but_size(truth, answer) for truth, answer in scenes]),
    }


def load_scene_classifier() -> SceneClassifier:
    """Return the trained classifier shipped with forerun, in float32, ready to evaluate."""
    weights = resources.files("forerun.worlds.scenes") / "weights"
    return fill_network(SceneClassifier(), weights / "classifier.safetensors")


def _convolution_block(inward: int, outward: int) -> nn.Sequential:
    """Return a convolution that halves the resolution."""
    convolution = nn.Conv2d(inward, outward, 3, stride=2, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(8, outward), nn.SiLU())


def _scene_from_labels(labels: Sequence[int]) -> Scene:
    layout = LAYOUTS[labels[0]]
    first = SceneObject.from_labels(labels[1:4])
    if layout == "single":
        return Scene(first)
    second = SceneObject.from_labels(labels[4:7])
    if layout == "row":
        return Scene(first, "left of", second)
    return Scene(first, "above", second)


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers)


def _pair_objects(
    expected: Scene,
    recognised: Scene,
) -> list[tuple[SceneObject, SceneObject]]:
    """Return objects at the same place; one that was not drawn is paired with one that matches nothing."""
    read_objects = [*recognised.objects, MISSING_OBJECT]
    return list(zip(expected.objects, read_objects[: len(expected.objects)], strict=True))


def _match_but_size(expected: Scene, recognised: Scene) -> bool:
    if expected.layout != recognised.layout:
        return False
    pairs = zip(expected.objects, recognised.objects, strict=True)
    return all(truth.colour == answer.colour and truth.shape == answer.shape for truth, answer in pairs)


def _best_order(expected: Scene, recognised: Scene) -> Scene:
    """Return the recognised scene, swapped where "beside" leaves the order open and the swap agrees better."""
    if expected.relation != "beside" or recognised.second is None:
        return recognised
    swapped = Scene(recognised.second, recognised.relation, recognised.first)
    return max(recognised, swapped, key=lambda scene: _count_matches(expected, scene))


def _count_matches(expected: Scene, recognised: Scene) -> int:
    pairs = zip(expected.objects, recognised.objects, strict=True)
    return sum(truth == answer for truth, answer in pairs)
