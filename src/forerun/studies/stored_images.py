"""Images among the figures of a study: compressed, and cut into strings that are short enough."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IMAGE_PREFIX = "image, "
CHUNK_LENGTH = 120  # characters of a string, as the tests of studies allow


def store_image(name: str, pixels: NDArray[np.uint8], quality: int = 90) -> dict[str, str]:
    """Return an image as figures, `"image, NAME: 0"` and so on.

    Args:
        name: of the image.
        pixels: `(height, width)` or `(height, width, 3)`, 0 to 255.
        quality: of JPEG, up to 95.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode()
    starts = range(0, len(text), CHUNK_LENGTH)
    return {f"{IMAGE_PREFIX}{name}: {k}": text[start : start + CHUNK_LENGTH] for k, start in enumerate(starts)}


def read_image(figures: Mapping[str, Any], name: str) -> NDArray[np.uint8]:
    """Return the pixels of an image that `store_image` put among the figures.

    Raises:
        KeyError: there is no image of this name.
    """
    import numpy as np
    from PIL import Image

    count = sum(key.startswith(f"{IMAGE_PREFIX}{name}: ") for key in figures)
    if not count:
        raise KeyError(f"there is no image {name!r} among the figures")
    text = "".join(figures[f"{IMAGE_PREFIX}{name}: {k}"] for k in range(count))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
