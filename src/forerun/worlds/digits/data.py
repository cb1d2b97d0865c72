"""Scikit-learn's digits: 1797 images of 8 x 8 pixels, as samples in [-1, 1] or as grey levels."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

DIGIT_PIXELS: Final = 64
BRIGHTEST_LEVEL: Final = 16


def load_digits() -> Tensor:
    """Return the 1797 images as float32 `(1797, 64)` in [-1, 1].

    Raises:
        ImportError: scikit-learn is not installed.
    """
    return _read_images().float() / (BRIGHTEST_LEVEL / 2) - 1


def load_digit_levels() -> Tensor:
    """Return the 1797 images as int64 `(1797, 64)` of levels 0 .. 16.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    return _read_images().long()


def _read_images() -> Tensor:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install 'forerun[digits]'") from error
    return torch.from_numpy(datasets.load_digits().data)
