"""Mathieu's conjecture on SU(2): its counterexample in rationals, and which searches see one."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.exact import mathieu
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POWERS = 50
SUMS = {"quick": ((1, 2), (2, 2), (3, 2)), "full": ((1, 3), (2, 3), (3, 2), (3, 3), (4, 2))}  # monomials, degree
PRODUCTS = {"quick": 2, "full": 3}
REDUCED = 200  # random functions integrated over the group and over its angles
KNOWN_MOMENTS = {"SU(2)": "1 0 1 0 2 0 5 0 14", "SU(3)": "1 0 0 1 0 0 5 0 0", "Sp(2)": "1 0 1 0 3 0 14 0 84"}


def run(scale: Scale) -> Figures:
    """Certify the counterexample, search for others, and integrate in two ways."""
    moments = mathieu.list_moments(*mathieu.long_counterexample(), powers=POWERS)
    figures: dict[str, Any] = {"powers": POWERS, "null powers": moments.plain.count(Fraction(0))}
    expected = [Fraction((-1) ** (n - 1), n + 1) for n in range(1, POWERS + 1)]
    figures["paired powers"] = sum(map(Fraction.__eq__, moments.paired, expected))
    figures |= {f"moment, {n}": float(moment) for n, moment in enumerate(moments.paired, start=1)}
    sums = mathieu.SearchCount(0, 0, 0, [])
    for count, degree in tqdm(SUMS[scale], desc="sums", leave=False):
        result = mathieu.search_counterexamples(mathieu.list_sums(count, degree=degree))
        figures |= _describe_search(f"{count} monomials, degree {degree}", result)
        sums = sums.add_search(result)
    figures |= _describe_search("sums", sums)
    products = mathieu.search_counterexamples(tqdm(mathieu.list_products(PRODUCTS[scale]), leave=False))
    figures |= _describe_search("products", products)
    return figures | _compare_integrals()


def _describe_search(name: str, result: mathieu.SearchCount) -> dict[str, int]:
    counts = {
        "searched": result.searched,
        "null": result.null,
        "refuted": result.refuted,
        "counterexamples": len(result.candidates),
    }
    return {f"{name}, {what}": count for what, count in counts.items()}


def _compare_integrals() -> dict[str, int]:
    """Count functions whose integrals over SU(2) and over its angles agree, and groups whose moments are known."""
    random, agreeing = Random(0), 0
    for _ in range(REDUCED):
        r, s, t, u = random.choices(range(5), k=4)
        function = mathieu.MatrixFunction({(r, s, t, u): 2, (u, t, s, r): random.randint(1, 9), (s, r, t, t): 1})
        function = function * function
        agreeing += function.integrate() == function.integrate_by_angles()
    groups = (mathieu.su_two(), mathieu.su_three(), mathieu.sp_two())
    moments = [" ".join(map(str, mathieu.list_trace_moments(group, powers=8))) for group in groups]
    right = sum(KNOWN_MOMENTS[group.name] == line for group, line in zip(groups, moments, strict=True))
    return {"reduced": REDUCED, "reduced alike": agreeing, "groups": len(groups), "groups with known moments": right}


def draw(figures: Figures) -> Figure:
    """Draw the moments that do not end, and what searches saw."""
    figure = new_figure(11.0, 4.2)
    stems, searches = figure.subplots(1, 2, width_ratios=[1.3, 1])
    powers = range(1, figures["powers"] + 1)
    heights = [figures[f"moment, {n}"] for n in powers]
    stems.vlines(powers, 0, heights, color=[OURS_COLOUR, RIVAL_COLOUR] * (len(powers) // 2), linewidth=2)
    stems.scatter(powers, heights, s=14, color=INK_COLOUR, zorder=3)
    stems.axhline(0, color=IN_ORDER_COLOUR, linewidth=1)
    stems.set_xlabel("n")
    style_axes(stems, "Moments that should end, and do not", "∫ G Fⁿ = (−1)ⁿ⁻¹ / (n + 1), though ∫ Fⁿ = 0 for all n")
    names = [name.removesuffix(", searched") for name in figures if name.endswith(", searched") and "sums" not in name]
    kinds = (("searched", IN_ORDER_COLOUR), ("null", INK_COLOUR), ("counterexamples", OURS_COLOUR))
    for place, (what, colour) in enumerate(kinds):
        counts = [figures[f"{name}, {what}"] for name in names]
        rows = [row + 0.27 * (place - 1) for row in range(len(names))]
        bars = searches.barh(rows, counts, 0.25, color=colour, label=what)
        searches.bar_label(bars, [f" {count}" for count in counts], fontsize=8, color=colour)
    searches.set_yticks(range(len(names)), names)
    searches.set_xscale("symlog")
    searches.margins(x=0.15)
    searches.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=8, loc="lower right")
    style_axes(searches, "What a search sees", "functions on SU(2), coefficients 1 and −1")
    return figure


STUDY = Study(
    number=64,
    title="Mathieu's conjecture fails on SU(2)",
    paper="Zwart, An addendum on the Mathieu conjecture (2025); Long, arXiv 2607.19012 (2026)",
    claims=(
        Claim(
            "F = (1 + c)(ad + b) and G = -c contradict the conjecture on SU(2)",
            paper="Long: for all n",
            here="int F^n = 0 for {null powers} and int G F^n = (-1)^(n-1)/(n+1) for {paired powers} of {powers} n",
            holds=lambda figures: figures["null powers"] == figures["paired powers"] == figures["powers"],
        ),
        Claim(
            "A search through sums of few monomials does not see it",
            paper="ours: our own earlier search saw none",
            here="{sums, counterexamples} in {sums, null} null functions of {sums, searched}; {sums, refuted} refuted",
            holds=lambda figures: figures["sums, counterexamples"] == 0 < figures["sums, null"],
        ),
        Claim(
            "A search through products does",
            paper="ours",
            here="{products, counterexamples} counterexamples, confirmed to n = 24, of {products, searched} products",
            holds=lambda figures: figures["products, counterexamples"] > 0,
        ),
        Claim(
            "Integrals over the group are integrals over an interval and circles",
            paper="Zwart: the reduction to tori",
            here="{reduced alike} of {reduced} random functions on SU(2), exactly",
            holds=lambda figures: figures["reduced alike"] == figures["reduced"],
        ),
        Claim(
            "Class functions of SU(2), SU(3) and Sp(2) have their known moments",
            paper="Weyl's integration formula",
            here="{groups with known moments} of {groups} groups",
            holds=lambda figures: figures["groups with known moments"] == figures["groups"],
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: moments are finite sums of rationals, and powers of one function are cheap one after another.",
    deviates="The counterexample has a proof for all n, in two lines of binomials; here it is computed to {powers}. "
    "Of SU(3) and Sp(2) class functions alone are integrated.",
)
