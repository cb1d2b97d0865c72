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

ROOM = 4 << 20  # characters of all pictures that are inlined together
# largest side, and quality of WebP or None for PNG; tried in turn until all pictures fit, which in the last they do
LADDER = ((4096, None), (1024, 90), (768, 85), (512, 80), (384, 75), (256, 70), (128, 70), (64, 70), (32, 70))
SMALL, GAP, LABEL, TEXT = 192, 8, 96, 15  # pixels: a picture is enlarged to SMALL; between pictures; of the labels
PAPER, INK = 255, 50


def rgb(picture: Tensor) -> Tensor:
    """A picture as uint8 `(H, W, 3)` on the CPU.

    Raises:
        ValueError: it is not uint8 `(3, H, W)`, `(H, W, 3)` or `(H, W)`.
    """
    if picture.dim() == 2:
        picture = picture.expand(3, *picture.shape)
    if picture.dim() == 3 and picture.shape[0] == 3:
        picture = picture.permute(1, 2, 0)
    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[2] != 3 or not picture.numel():
        raise ValueError(
            f"a picture is uint8 (3, H, W), (H, W, 3) or (H, W), got {picture.dtype} {list(picture.shape)}; of a "
            "sample in -1 .. 1 make ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte()"
        )
    return picture.detach().cpu().contiguous()


def save(picture: Tensor, path: Path) -> None:
    """Write a picture as PNG."""
    path.write_bytes(_encoded(rgb(picture), None))


def animate(pictures: Sequence[Tensor], path: Path, *, seconds: float = 3.0) -> None:
    """Write pictures of one size as a GIF that goes round in so many seconds."""
    image = _pillow()
    frames = [image.fromarray(rgb(picture).numpy()) for picture in pictures]
    every = round(1000 * seconds / len(frames))
    frames[0].save(path, "gif", save_all=True, append_images=frames[1:], duration=every, loop=0, optimize=True)


def inlined(pictures: Sequence[Tensor]) -> list[str]:
    """Addresses that hold pictures `(H, W, 3)`, of the best quality with which all of them have room."""
    for side, quality in LADDER:
        found, size = [], 0
        for picture in pictures:
            content = base64.b64encode(_encoded(_shrunk(picture, side), quality)).decode()
            found.append(f"data:image/{'png' if quality is None else 'webp'};base64,{content}")
            size += len(found[-1])
            if size > ROOM:
                break
        else:
            break
    return found


def rows(named: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """Rows of pictures of one size, each with its name to the left; small ones are enlarged.

    Returns:
        A picture, uint8 `(H, W, 3)`.
    """
    enlarged = {name: [_enlarged(rgb(picture)) for picture in pictures] for name, pictures in named.items()}
    high, wide, _ = next(iter(enlarged.values()))[0].shape
    columns = max(map(len, enlarged.values()))
    sheet = torch.full((len(named) * (high + GAP) + GAP, LABEL + columns * (wide + GAP), 3), PAPER, dtype=torch.uint8)
    for index, (name, pictures) in enumerate(enlarged.items()):
        top = GAP + index * (high + GAP)
        sheet[top : top + high, : LABEL - GAP] = _words(name, high, LABEL - GAP)
        for place, picture in enumerate(pictures):
            left = LABEL + place * (wide + GAP)
            sheet[top : top + high, left : left + wide] = picture
    return sheet


def _enlarged(picture: Tensor) -> Tensor:
    """Each pixel as a square of several, where the picture is small."""
    times = max(SMALL // max(picture.shape[:2]), 1)
    return picture.repeat_interleave(times, 0).repeat_interleave(times, 1)


def _shrunk(picture: Tensor, side: int) -> Tensor:
    if max(picture.shape) <= side:
        return picture
    size = [max(round(each * side / max(picture.shape)), 1) for each in picture.shape[:2]]
    smaller = interpolate(picture.permute(2, 0, 1)[None].float(), size=size, mode="bilinear", antialias=True)[0]
    return smaller.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()


def _words(text: str, high: int, wide: int) -> Tensor:
    """Text to the right and in the middle of a blank picture `(high, wide, 3)`; a line a word where it is narrow."""
    _pillow()
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (wide, high), (PAPER,) * 3)
    font, lines = ImageFont.load_default(TEXT), text.replace(", ", ",\n")
    ImageDraw.Draw(image).text((wide, high / 2), lines, (INK,) * 3, font, anchor="rm", align="right")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(high, wide, 3)


def _encoded(picture: Tensor, quality: int | None) -> bytes:
    """A picture `(H, W, 3)` as a file: WebP of some quality, or PNG."""
    high, wide, _ = picture.shape
    image = _pillow().frombytes("RGB", (wide, high), bytes(picture.contiguous().numpy()))
    file = BytesIO()
    image.save(file, "png", optimize=True) if quality is None else image.save(file, "webp", quality=quality)
    return file.getvalue()


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures are written by Pillow: pip install 'forerun[plot]'") from error
    return Image
