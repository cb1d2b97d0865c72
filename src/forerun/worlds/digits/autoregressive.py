"""The two autoregressive image networks that were trained on scikit-learn's digits and ship with forerun."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Final, TypeVar

from forerun.sequence.autoregressive.made import Made
from forerun.sequence.autoregressive.pixelcnn import PixelCNN
from forerun.worlds.weights import fill_network

ImageNetwork = TypeVar("ImageNetwork", Made, PixelCNN)
IMAGE_NETWORKS: Final[Mapping[str, type[Made] | type[PixelCNN]]] = {"made": Made, "pixelcnn": PixelCNN}


def load_made() -> Made:
    """Return the trained MADE shipped with forerun, in float32; `weights/made.json` says how it was trained."""
    return _load_network(Made, "made")


def load_pixelcnn() -> PixelCNN:
    """Return the trained PixelCNN shipped with forerun, in float32; `weights/pixelcnn.json` says how it was trained."""
    return _load_network(PixelCNN, "pixelcnn")


def _load_network(kind: type[ImageNetwork], name: str) -> ImageNetwork:
    weights = resources.files("forerun.worlds.digits") / "weights"
    facts = json.loads((weights / f"{name}.json").read_text())
    network = kind(**facts["config"])
    return fill_network(network, weights / f"{name}.safetensors")
