"""Scikit-learn's digits, and the two networks trained on them that ship with forerun."""

from __future__ import annotations

import json
from importlib import resources
from typing import Final, TypeVar

import torch
from safetensors.torch import load
from torch import Tensor

from forerun.sequence.autoregressive.made import Made
from forerun.sequence.autoregressive.pixelcnn import PixelCNN

Network = TypeVar("Network", Made, PixelCNN)
NETWORKS: Final = {"made": Made, "pixelcnn": PixelCNN}


def load_digit_levels() -> Tensor:
    """The 1797 images of 8 x 8 pixels, int64 `(1797, 64)`, of levels 0 .. 16.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install 'forerun[digits]'") from error
    return torch.from_numpy(datasets.load_digits().data).long()


def load_made() -> Made:
    """The trained MADE shipped with forerun, in float32; `weights/made.json` says how it was trained."""
    return _filled(Made, "made")


def load_pixelcnn() -> PixelCNN:
    """The trained PixelCNN shipped with forerun, in float32; `weights/pixelcnn.json` says how it was trained."""
    return _filled(PixelCNN, "pixelcnn")


def _filled(kind: type[Network], name: str) -> Network:
    weights = resources.files("forerun.worlds.digits") / "weights"
    network = kind(**json.loads((weights / f"{name}.json").read_text())["config"])
    stored = load((weights / f"{name}.safetensors").read_bytes())
    network.load_state_dict({key: tensor.float() for key, tensor in stored.items()})
    return network.eval().requires_grad_(False)
