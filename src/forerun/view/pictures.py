"""Coloured pictures: as files, as addresses that hold them, and in rows side by side."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import interpolate

MAX_INLINED = 4 << 20  # characters of all pictures that are inlined together
# largest side, and quality of WebP or None for PNG; tried in turn until all pictures fit, which in the last they do
QUALITY_LADDER = (
    (4096, None),
    (1024, 90),
    (768, 85),
    (512, 80),
    (384, 75),
    (256, 70),
    (128, 70),
    (64, 70),
    (32, 70),
)
ENLARGED_SIDE = 192  # pixels, like all below: smaller pictures are enlarged to this
SHEET_GAP = 8
LABEL_WIDTH = 96
LABEL_FONT_SIZE = 15
PAPER_GREY, INK_GREY = 255, 50


def to_rgb(picture: Tensor) -> Tensor:
    """Return a picture as uint8 `(H, W, 3)` on the CPU.

    Raises:
        ValueError: it is not uint8 `(3, H, W)`, `(H, W, 3)` or `(H, W)`.
    """
    if picture.dim() == 2:
        picture = picture.expand(3, *picture.shape)
    if picture.dim() == 3 and picture.shape[0] == 3:
        picture = picture.permute(1, 2, 0)
    has_colours = picture.dim() == 3 and picture.shape[2] == 3
    has_bytes = picture.dtype == torch.uint8 and picture.numel() > 0
    if not has_colours or not has_bytes:
        raise ValueError(
            f"a picture is uint8 (3, H, W), (H, W, 3) or (H, W), got {picture.dtype} {list(picture.shape)}; of a "
            "sample in -1 .. 1 make ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte()"
        )
    return picture.detach().cpu().contiguous()


def save_picture(picture: Tensor, path: Path) -> None:
    """Write a picture as PNG."""
    path.write_bytes(_encode_picture(to_rgb(picture), None))


def save_animation(pictures: Sequence[Tensor], path: Path, *, seconds: float = 3.0) -> None:
    """Write pictures of one size as a GIF that goes round in so many seconds."""
    image = _import_pillow()
    frames = [image.fromarray(to_rgb(picture).numpy()) for picture in pictures]
    milliseconds = round(1000 * seconds / len(frames))
    frames[0].save(
        path,
        "gif",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
        optimize=True,
    )


def inline_pictures(pictures: Sequence[Tensor]) -> list[str]:
    """Return addresses that hold pictures `(H, W, 3)`, of the best quality at which all of them fit."""
    addresses: list[str] = []
    for side, quality in QUALITY_LADDER:
        addresses = _inline_all(pictures, side, quality)
        if sum(map(len, addresses)) <= MAX_INLINED:
            break
    return addresses


def tile_rows(pictures: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """Return one picture of rows of pictures of one size, each with its name to the left; small ones are enlarged.

    Args:
        pictures: of every row, by its name.

    Returns:
        A picture, uint8 `(H, W, 3)`.
    """
    bands = [_draw_band(name, row) for name, row in pictures.items()]
    height = bands[0].shape[0]
    width = max(band.shape[1] for band in bands)
    pitch = height + SHEET_GAP
    sheet = _blank_paper(len(bands) * pitch + SHEET_GAP, width)
    for index, band in enumerate(bands):
        top = SHEET_GAP + index * pitch
        sheet[top : top + height, : band.shape[1]] = band
    return sheet


def _draw_band(name: str, pictures: Sequence[Tensor]) -> Tensor:
    """Return pictures of one size side by side, enlarged where they are small, with their name to the left."""
    enlarged = [_enlarge_picture(to_rgb(picture)) for picture in pictures]
    height, width, _ = enlarged[0].shape
    pitch = width + SHEET_GAP
    band = _blank_paper(height, LABEL_WIDTH + len(enlarged) * pitch)
    label_width = LABEL_WIDTH - SHEET_GAP
    band[:, :label_width] = _draw_label(name, height, label_width)
    for column, picture in enumerate(enlarged):
        left = LABEL_WIDTH + column * pitch
        band[:, left : left + width] = picture
    return band


def _blank_paper(height: int, width: int) -> Tensor:
    return torch.full((height, width, 3), PAPER_GREY, dtype=torch.uint8)


def _inline_all(pictures: Sequence[Tensor], side: int, quality: int | None) -> list[str]:
    """Return the addresses at one quality; stops after the picture that no longer fits."""
    kind = "png" if quality is None else "webp"
    addresses = []
    characters = 0
    for picture in pictures:
        encoded = _encode_picture(_shrink_picture(picture, side), quality)
        content = base64.b64encode(encoded).decode()
        addresses.append(f"data:image/{kind};base64,{content}")
        characters += len(addresses[-1])
        if characters > MAX_INLINED:
            break
    return addresses


def _enlarge_picture(picture: Tensor) -> Tensor:
    """Return the picture with each pixel as a square of several, where it is small."""
    factor = max(ENLARGED_SIDE // max(picture.shape[:2]), 1)
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def _shrink_picture(picture: Tensor, side: int) -> Tensor:
    """Return the picture with its longer side at most `side`."""
    longest = max(picture.shape)
    if longest <= side:
        return picture
    size = [max(round(length * side / longest), 1) for length in picture.shape[:2]]
    channels_first = picture.permute(2, 0, 1).float()
    smaller = interpolate(
        channels_first[None],
        size=size,
        mode="bilinear",
        antialias=True,
    )
    pixels = smaller[0].round().clamp(0, 255).byte()
    return pixels.permute(1, 2, 0).contiguous()


def _draw_label(text: str, height: int, width: int) -> Tensor:
    """Return a blank picture `(height, width, 3)` with text to the right, centred; it breaks after a comma."""
    _import_pillow()
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), (PAPER_GREY,) * 3)
    font = ImageFont.load_default(LABEL_FONT_SIZE)
    lines = text.replace(", ", ",\n")
    draw = ImageDraw.Draw(image)
    middle_right = (width, height / 2)
    draw.text(
        middle_right,
        lines,
        fill=(INK_GREY,) * 3,
        font=font,
        anchor="rm",
        align="right",
    )
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.reshape(height, width, 3)


def _encode_picture(picture: Tensor, quality: int | None) -> bytes:
    """Return a picture `(H, W, 3)` as a file: WebP of some quality, or PNG."""
    height, width, _ = picture.shape
    content = bytes(picture.contiguous().numpy())
    image = _import_pillow().frombytes("RGB", (width, height), content)
    file = BytesIO()
    if quality is None:
        image.save(file, "png", optimize=True)
    else:
        image.save(file, "webp", quality=quality)
    return file.getvalue()


def _import_pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures are written by Pillow: pip install 'forerun[plot]'") from error
    return Image
