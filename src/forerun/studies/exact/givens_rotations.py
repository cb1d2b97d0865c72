"""Givens rotations: errors of an entry without a shared reciprocal, and of products in order and as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.engine.numerics.rotations import make_rotations, product_as_tree, product_in_order
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HALF_UNIT = 2.0**-24  # u of float32
PAIR_COUNTS = {"quick": 400_000, "full": 4_000_000}
PRODUCT_LENGTHS = {"quick": (16, 128, 1024), "full": (16, 64, 256, 1024, 4096, 16384)}
PRODUCT_SAMPLES = 256
BINS = 48
WIDEST_ERROR = 2.4  # in half units, of the histogram
KIND_COLOURS = {"old in order": RIVAL_COLOUR, "in order": IN_ORDER_COLOUR, "old tree": "#ffcc80", "tree": OURS_COLOUR}


def run(scale: Scale) -> Figures:
    """Compare entries with float64, then products of thousands of rotations with float64 products of the same."""
    generator = torch.Generator().manual_seed(0)
    f, g = torch.randn(2, PAIR_COUNTS[scale], generator=generator)
    figures: dict[str, Any] = {"pairs": PAIR_COUNTS[scale]}
    exact = make_rotations(f.double(), g.double())
    for name, (cosine, sine) in {"new": _new_entries(f, g), "old": _old_entries(f, g)}.items():
        figures |= _measure_entries(name, cosine, sine, (exact.cosine, exact.sine))
    figures |= _measure_complex(*torch.randn(2, PAIR_COUNTS[scale] // 4, dtype=torch.complex64, generator=generator))
    lengths = PRODUCT_LENGTHS[scale]
    for length in tqdm(lengths, desc="products", leave=False):
        figures |= _measure_products(length, generator)
    figures |= {f"loss, {kind}": figures[f"loss, {kind}, {lengths[-1]}"] for kind in ("in order", "tree")}
    return figures | {"longest": lengths[-1], "lengths": ", ".join(map(str, lengths))}


def _new_entries(f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    rotations = make_rotations(f, g)
    return rotations.cosine, rotations.sine


def _old_entries(f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entries as LAPACK 3.10 had them: both by one reciprocal."""
    reciprocal = 1 / torch.sqrt(f * f + g * g)
    return f.abs() * reciprocal, g * torch.copysign(reciprocal, f)


def _measure_entries(name: str, cosine: Tensor, sine: Tensor, exact: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Return mean and largest errors in half units of float32, and a histogram of those of the cosine."""
    figures: dict[str, float] = {}
    for entry, value, truth in (("c", cosine, exact[0]), ("s", sine, exact[1])):
        errors = ((value.double() - truth) / truth).abs() / HALF_UNIT
        figures |= {f"mean {entry}, {name}": float(errors.mean()), f"largest {entry}, {name}": float(errors.max())}
        if entry == "c":
            counts = torch.histc(errors.float(), BINS, 0, WIDEST_ERROR) / len(errors)
            figures |= {f"bin {k}, {name}": round(float(share), 6) for k, share in enumerate(counts)}
    unit = (cosine.double().square() + sine.double().square() - 1).abs() / HALF_UNIT
    return figures | {f"mean unit, {name}": float(unit.mean()), f"largest unit, {name}": float(unit.max())}


def _measure_complex(f: Tensor, g: Tensor) -> dict[str, float]:
    """Return mean errors of complex rotations, ours and by a shared reciprocal."""
    wide, ours = make_rotations(f.to(torch.complex128), g.to(torch.complex128)), make_rotations(f, g)
    f2, g2 = (torch.view_as_real(number).square().sum(-1) for number in (f, g))
    reciprocal = 1 / torch.sqrt(f2 * (f2 + g2))
    shared = f2 * reciprocal, g.conj() * (f * reciprocal)
    figures = {}
    for name, (cosine, sine) in {"new": (ours.cosine, ours.sine), "old": shared}.items():
        for entry, value, truth in (("c", cosine, wide.cosine), ("s", sine, wide.sine)):
            errors = (value.to(truth.dtype) - truth).abs() / truth.abs() / HALF_UNIT
            figures[f"mean complex {entry}, {name}"] = float(errors.mean())
    return figures


def _measure_products(length: int, generator: torch.Generator) -> dict[str, float]:
    """Return how far products are from unitary, root mean square over samples, in half units."""
    f, g = torch.randn(2, length, PRODUCT_SAMPLES, generator=generator)
    new, old = _new_entries(f, g), _old_entries(f, g)
    products = {"in order": product_in_order(new), "tree": product_as_tree(new)}
    products |= {"old in order": product_in_order(old), "old tree": product_as_tree(old)}
    figures = {}
    for kind, (a, b) in products.items():
        loss = (a.double().square() + b.double().square() - 1) / HALF_UNIT
        figures[f"loss, {kind}, {length}"] = float(loss.square().mean().sqrt())
    return figures


def draw(figures: Figures) -> Figure:
    """Draw the errors of cosines, and the loss of unitarity over the length of a product."""
    figure = new_figure(11.0, 4.4)
    entries, products = figure.subplots(1, 2)
    places = [(k + 0.5) * WIDEST_ERROR / BINS for k in range(BINS)]
    for name, colour, label in (("old", RIVAL_COLOUR, "by one reciprocal"), ("new", OURS_COLOUR, "a division each")):
        shares = [figures[f"bin {k}, {name}"] for k in range(BINS)]
        entries.fill_between(places, shares, step="mid", color=colour, alpha=0.55, label=label)
    entries.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(entries, "Fewer roundings an entry", "errors of cosines in float32, in half units of rounding")
    lengths = [int(word) for word in figures["lengths"].split(", ")]
    for kind, colour in KIND_COLOURS.items():
        losses = [figures[f"loss, {kind}, {length}"] for length in lengths]
        products.loglog(lengths, losses, color=colour, marker="o", linewidth=2.5, label=kind)
    products.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(products, "Products of rotations", "distance from unitary in half units, over their number")
    return figure


STUDY = Study(
    number=71,
    title="Givens rotations, rounded less",
    paper="Pereira, Lotfi and Langou, arXiv 2211.04010",
    claims=(
        Claim(
            "Fewer operations an entry are more accurate on average",
            paper="more accurate on average",
            here="mean errors of c {mean c, old:.3f}u to {mean c, new:.3f}u, of s {mean s, old:.3f}u to "
            "{mean s, new:.3f}u, c^2 + s^2 off one by {mean unit, old:.2f}u to {mean unit, new:.2f}u",
            holds=lambda figures: all(figures[f"mean {k}, new"] < 0.9 * figures[f"mean {k}, old"] for k in "cs"),
        ),
        Claim(
            "So it is for complex rotations",
            paper="real and complex",
            here="c from {mean complex c, old:.3f}u to {mean complex c, new:.3f}u, s from "
            "{mean complex s, old:.3f}u to {mean complex s, new:.3f}u",
            holds=lambda figures: all(
                figures[f"mean complex {k}, new"] <= figures[f"mean complex {k}, old"] for k in "cs"
            ),
        ),
        Claim(
            "A product of thousands loses less as a tree than in order",
            paper="ours",
            here="{loss, tree:.1f}u as a tree, {loss, in order:.1f}u in order, of {longest} rotations",
            holds=lambda figures: figures["loss, tree"] < 0.9 * figures["loss, in order"],
            stable=False,
        ),
    ),
    run=run,
    draw=draw,
    engine="A product is a scan of log2 rounds at no loss: {loss, tree:.1f}u from unitary, {loss, in order:.1f}u in "
    "order: entries bring their own errors along. `FilteredAnderson` updates its QR by these rotations.",
    deviates="{pairs} normal pairs in float32 against float64, relative errors, u = 2^-24. The old formula "
    "is our statement of LAPACK 3.10.",
)
