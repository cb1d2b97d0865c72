"""The HTML of a page: a single file that loads nothing, made to be shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from torch import Tensor

from forerun.engine.rounds import Round
from forerun.view.page import PageFrame, RunPage
from forerun.view.pictures import inline_pictures, to_rgb
from forerun.view.slot_grid import rounds_of_entry, thinning_stride

# shown at most
MAX_PICTURES = 16
MAX_FRAMES = 48
MAX_ROWS = 2000
MAX_SLOTS = 40_000


def write_page(path: Path, page: RunPage) -> None:
    """Write the page of a run; see `render_page`."""
    path.write_text(render_page(page), encoding="utf-8")


def render_page(page: RunPage) -> str:
    """Return the HTML of a page: one file of at most 9 MB that loads nothing; without scripts it lacks its drawings.

    Pictures stand in it as PNG; where that would be too large as WebP, and at last as smaller pictures. Of many
    samples, frames or rounds, some are left out.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: something is not a picture, or a frame has not one picture a sample.
    """
    _refuse_frames(page)
    blocks = {
        "title": escape(page.title),
        "prompt": escape(page.prompt or ""),
        "pictures": _render_pictures(page),
        "more": _omission(len(page.pictures)),
        "status": escape(page.status),
        "highlights": _render_terms(page.highlights),
        "figures": _render_tables(page.figures),
        "notes": _render_notes(page.notes),
        "command": escape(page.command or ""),
        "data": _render_json(_script_data(page)),
    }
    template = resources.files("forerun.view").joinpath("page.html").read_text(encoding="utf-8")
    return Template(template).substitute(blocks)


def _refuse_frames(page: RunPage) -> None:
    for frame in page.frames:
        if len(frame.pictures) != len(page.pictures):
            raise ValueError(
                f"the frame of round {frame.round} has {len(frame.pictures)} pictures for {len(page.pictures)} "
                "samples; pass one a sample, PageFrame(round, pictures)"
            )


def _omission(count: int) -> str:
    if count <= MAX_PICTURES:
        return ""
    return f"The first {MAX_PICTURES} of {count} samples."


def _render_terms(rows: Mapping[str, str]) -> str:
    terms = []
    for name, value in rows.items():
        terms.append(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>")
    return "".join(terms)


def _render_tables(figures: Mapping[str, Mapping[str, str]]) -> str:
    sections = []
    for heading, rows in figures.items():
        if rows:
            sections.append(f"<section><h2>{escape(heading)}</h2><dl>{_render_terms(rows)}</dl></section>")
    return "".join(sections)


def _render_notes(notes: Sequence[str]) -> str:
    return "".join(f"<li>{escape(note)}</li>" for note in notes)


def _render_pictures(page: RunPage) -> str:
    """Return the final pictures as `img` elements."""
    count = len(page.pictures)
    name = escape(page.prompt or page.title)
    pictures = [to_rgb(picture) for picture in page.pictures[:MAX_PICTURES]]
    elements = []
    for number, (picture, source) in enumerate(zip(pictures, inline_pictures(pictures), strict=True), 1):
        height, width, _ = picture.shape
        alt = name if count == 1 else f"{name}, sample {number} of {count}"
        size = f'width="{width}" height="{height}" style="--aspect: {width / height:.4g}"'
        elements.append(f'<img src="{source}" alt="{alt}" {size}>')
    return "".join(elements)


def _render_json(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _script_data(page: RunPage) -> dict[str, Any]:
    """Return what the script draws: the wavefront, the time, and the frames before the last round."""
    slots = sum(entry.width for entry in page.log)
    stride = thinning_stride(slots, MAX_SLOTS)
    rows = _wavefront_rows(page, stride)
    return {
        "length": page.length,
        "rounds": page.rounds,
        "rounds_before": page.rounds_before,
        "in_order": page.in_order,
        "seconds": None if page.seconds is None else asdict(page.seconds),
        "stride": stride,
        "log": rows[:: thinning_stride(len(rows), MAX_ROWS)],
        "frames": _inline_frames(page),
    }


def _wavefront_rows(page: RunPage, stride: int) -> list[dict[str, Any]]:
    """Return a row for every entry of the log, with the residuals of every `stride`-th step."""
    rows = []
    rounds_before = page.rounds_before
    for entry in page.log:
        rows.append(_wavefront_row(entry, stride, rounds_before))
        rounds_before += rounds_of_entry(entry)
    return rows


def _wavefront_row(entry: Round, stride: int, rounds_before: int) -> dict[str, Any]:
    first_slot = -entry.start % stride
    return {
        "start": entry.start,
        "stop": entry.stop,
        "accepted": entry.accepted,
        "rounds": entry.rounds,
        "evaluations": entry.evaluations,
        "in_order": entry.in_order,
        "before": rounds_before,
        "threshold": _short_number(entry.threshold),
        "residuals": [_short_number(residual) for residual in entry.residuals[first_slot::stride]],
    }


def _inline_frames(page: RunPage) -> list[dict[str, Any]]:
    """Return the frames before the last round, which has the final pictures."""
    frames = [frame for frame in page.frames if frame.round < page.rounds]
    frames = frames[:: thinning_stride(len(frames), MAX_FRAMES)]
    sources = iter(inline_pictures(_frame_pictures(frames)))
    data = []
    for frame in frames:
        frame_sources = [next(sources) for _ in frame.pictures[:MAX_PICTURES]]
        data.append({"round": frame.round, "sources": frame_sources})
    return data


def _frame_pictures(frames: Sequence[PageFrame]) -> list[Tensor]:
    return [to_rgb(picture) for frame in frames for picture in frame.pictures[:MAX_PICTURES]]


def _short_number(number: float) -> float | None:
    """Return a number in three digits; None where it is not finite."""
    if not math.isfinite(number):
        return None
    return float(f"{number:.3g}")
