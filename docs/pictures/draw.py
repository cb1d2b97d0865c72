"""Draws the pictures of the documentation: `python docs/pictures/draw.py`.

round.svg is a drawing. wavefront.svg is a measurement: how far every step of examples/01_the_idea.py moved in
every round.
"""

import math
import runpy
from itertools import groupby
from pathlib import Path

import torch

HERE = Path(__file__).parent
EXAMPLE = HERE.parent.parent / "examples" / "01_the_idea.py"
INK, SOFT, DONE, MOVING, COSTLY = "#263238", "#90a4ae", "#00897b", "#fb8c00", "#5c6bc0"


def text(x, y, words, *, size=13, anchor="middle", colour=INK, bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>{words}</text>'


def box(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def disc(x, y, colour, symbol, index):
    label = f'{symbol}<tspan dy="3" font-size="8">{index}</tspan>'
    return f'<circle cx="{x}" cy="{y}" r="18" fill="{colour}"/>' + text(x, y + 4, label, colour="white")


def arrow(x1, y1, x2, y2):
    line = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{SOFT}" stroke-width="1.6"'
    return f'{line} marker-end="url(#head)"/>'


def page(width, height, label, parts):
    head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'font-family="system-ui, sans-serif">\n<defs>{head}<path d="M0 0L8 4L0 8z" fill="{SOFT}"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def round_picture():
    columns = [200 + 88 * k for k in range(6)]
    middle, guess, evaluate, sweep, accept = 420, 60, 142, 224, 318
    parts = [
        text(middle, 26, "one round over the window of the steps b .. b+5", size=14),
        text(20, guess + 4, "guess the inputs", anchor="start", bold=True),
        text(20, evaluate + 4, "evaluate together", anchor="start", bold=True),
        text(20, sweep + 4, "advance in order", anchor="start", bold=True),
        text(20, accept + 4, "accept", anchor="start", bold=True),
        f'<rect x="166" y="{evaluate - 20}" width="508" height="40" rx="8" fill="{COSTLY}"/>',
        text(middle, evaluate + 5, "one batched call gives the outputs of all steps", colour="white"),
        text(middle, sweep + 44, "the sweep: cheap and exact; every output is corrected by its slope", size=12),
        text(
            middle,
            accept + 34,
            "the leading steps whose input no longer moves are final; the window slides past them",
            size=12,
        ),
    ]
    for k, x in enumerate(columns):
        index, final = f"b+{k}" if k else "b", k < 3
        parts += [
            disc(x, guess, MOVING if k else DONE, "u" if k else "x", index),
            arrow(x, guess + 20, x, evaluate - 22),
            arrow(x, evaluate + 22, x, sweep - 20),
            disc(x, sweep, DONE if final else MOVING, "x", f"b+{k + 1}"),
            text(x, accept + 4, "final" if final else "next round", colour=DONE if final else MOVING),
        ]
        parts += [arrow(columns[k - 1] + 20, sweep, x - 20, sweep)] if k else []
    return page(710, accept + 54, "One round: guess, evaluate together, advance in order, accept", parts)


def measure():
    """How far every input moved, one row a round, and the tolerance; the loop of the example with its own functions."""
    example = runpy.run_path(str(EXAMPLE))
    evaluate, advance, secant, length = (example[name] for name in ("evaluate", "advance", "secant", "length"))
    inputs, rows = example["start"].expand(length, 2), []
    outputs = moved = torch.zeros(length, 2)
    while not rows or rows[-1].max() > example["tolerance"]:
        before, outputs = outputs, evaluate(torch.arange(length), inputs)
        slope, path = secant(outputs - before, moved), [example["start"]]
        for i in range(length):
            path.append(advance(i, path[i], outputs[i] + slope[i] * (path[i] - inputs[i])))
        moved = torch.stack(path[:-1]) - inputs
        inputs = inputs + moved
        rows.append(moved.abs().amax(-1))
    return torch.stack(rows), example["tolerance"]


def shade(residual, tolerance):
    """From pale at the tolerance and below to full colour at one and above."""
    depth = min(1.0, max(0.0, 1 - math.log10(max(residual, tolerance)) / math.log10(tolerance)))
    pale, full = (255, 243, 224), (191, 54, 12)
    return "#" + "".join(f"{round(a + (b - a) * depth):02x}" for a, b in zip(pale, full, strict=True))


def wavefront_picture():
    rows, tolerance = measure()
    left, top, wide, high = 70, 44, 6, 17
    final = (rows <= tolerance).long().cumprod(1).bool()  # final only where every step before is
    parts = [text(left + 300, 26, f"examples/01_the_idea.py: {rows.shape[1]} steps in {len(rows)} rounds", size=14)]
    for k, cells in enumerate(zip(rows.tolist(), final.tolist(), strict=True)):
        y = top + high * k
        parts.append(text(left - 10, y + 12, str(k + 1), size=11, anchor="end"))
        colours = [DONE if done else shade(size, tolerance) for size, done in zip(*cells, strict=True)]
        first = 0
        for colour, run in groupby(colours):
            count = len(list(run))
            parts.append(box(left + wide * first, y, wide * count, high - 1.2, colour))
            first += count
    bottom = top + high * len(rows)
    parts += [text(left + wide * i, bottom + 16, str(i), size=11) for i in range(0, rows.shape[1] + 1, 20)]
    parts.append(text(left + 300, bottom + 34, "step"))
    parts.append(f'<g transform="rotate(-90 26 {(top + bottom) / 2})">{text(26, (top + bottom) / 2, "round")}</g>')
    x, y = left, bottom + 50
    parts += [box(x, y, 14, 12, DONE), text(x + 20, y + 10, "final", size=12, anchor="start")]
    for k, size in enumerate((1e-5, 1e-3, 1e-1, 1.0)):
        parts.append(box(x + 80 + 125 * k, y, 14, 12, shade(size, tolerance)))
        parts.append(text(x + 100 + 125 * k, y + 10, f"moved {size:g}", size=12, anchor="start"))
    return page(710, bottom + 76, "How far every step moved in every round", parts)


if __name__ == "__main__":
    (HERE / "round.svg").write_text(round_picture())
    (HERE / "wavefront.svg").write_text(wavefront_picture())
