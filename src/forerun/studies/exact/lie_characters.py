"""Characters of classical groups: products expanded by a recurrence in the rank, each identity multiplied out."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.exact import characters as lie
from forerun.studies.pictures import LINE_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FACTORS: tuple[dict[int, int], ...] = ({2: 1, 0: 1, -2: 1}, {1: 1, 0: 1, -1: 1}, {1: 1, 0: -1, -1: 1}, {1: 1, -1: 1})
PAPER_FACTOR = FACTORS[0]
RANKS = {"quick": 4, "full": 5}
LONG_RANKS = 24  # along which coefficients of the trivial character are looked at
SHOWN_WEIGHT = (5, 2)
SHOWN_SPAN = range(-5, 6)


def run(scale: Scale) -> Figures:
    """Expand products in all ladders of groups, and kernels in pairs of them; certify and count."""
    figures: dict[str, Any] = {"ranks": RANKS[scale], "expansions": 0, "certified": 0}
    for size in tqdm(range(2, 2 * RANKS[scale] + 2), desc="sizes", leave=False):
        for group, factor in product(lie.list_groups(size), FACTORS):
            figures["expansions"] += 1
            figures["certified"] += lie.expand_product(group, factor).certified
    ladder = [lie.symplectic_group(2 * rank) for rank in range(1, LONG_RANKS + 1)]
    trivial = [lie.coefficient_by_recurrence(group, PAPER_FACTOR, (0,) * group.rank) for group in ladder]
    figures["period, Sp"] = lie.find_period(trivial)
    return figures | _count_pairs(scale) | _compare_spin(RANKS[scale]) | _list_terms()


def _count_pairs(scale: Scale) -> dict[str, int]:
    """Count the pairs of groups whose kernel has one partner for every weight, and those that have not."""
    pairs = [(2, 1), (2, 2)] if scale == "quick" else [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2)]
    families = [(lie.symplectic_group, 0, 1), (lie.orthogonal_group, 1, -1), (lie.orthogonal_group, 0, 1)]
    counts = {"pairs": 0, "dual pairs": 0, "mixed pairs": 0, "dual mixed pairs": 0}
    for first, second in pairs:
        for ladder, odd, sign in families:
            kernel = lie.expand_kernel(ladder(2 * first + odd), ladder(2 * second + odd), sign=sign)
            counts["pairs"] += 1
            counts["dual pairs"] += kernel.is_dual
        mixed = lie.symplectic_group(2 * first), lie.orthogonal_group(2 * second + 1)
        counts["mixed pairs"] += 1
        counts["dual mixed pairs"] += lie.expand_kernel(*mixed).is_dual
    return counts


def _compare_spin(ranks: int) -> dict[str, int]:
    """Count spin expansions of SO(2n+1) that are those of Sp(2n), weight by weight."""
    half, counts = Fraction(1, 2), {"spin expansions": 0, "equal spin expansions": 0}
    for rank, factor in product(range(1, ranks + 1), FACTORS):
        spin = lie.expand_product(lie.orthogonal_group(2 * rank + 1), lie.multiply_spin(factor), certify=False)
        plain = lie.expand_product(lie.symplectic_group(2 * rank), factor, certify=False).coefficients
        shifted = {tuple(part + half for part in weight): count for weight, count in plain.items()}
        counts["spin expansions"] += 1
        counts["equal spin expansions"] += spin.coefficients == shifted
    return counts


def _list_terms() -> dict[str, Any]:
    """Return what is drawn: expansions in Sp(2n) with their largest coefficient, and the weights of a character."""
    figures: dict[str, Any] = {}
    for rank in range(1, 6):
        expansion = lie.expand_product(lie.symplectic_group(2 * rank), PAPER_FACTOR, certify=False)
        terms = [f"{count:+d}:" + "".join(map(str, weight)) for weight, count in expansion.coefficients.items()]
        figures[f"terms, rank {rank}"] = " ".join(terms)
    figures["largest"] = max(map(abs, expansion.coefficients.values()))
    weights = Counter(lie.weyl_character(lie.symplectic_group(4), SHOWN_WEIGHT))
    for y in SHOWN_SPAN:
        figures[f"weights, row {y}"] = " ".join(str(weights[Fraction(x), Fraction(y)]) for x in SHOWN_SPAN)
    return figures


def _draw_terms(axes: Axes, rank: int, terms: str) -> None:
    """Draw the weights of an expansion as rows of boxes, coloured by their coefficients."""
    top = -rank * (rank + 3) / 2
    axes.text(-1.2, top, f"Sp({2 * rank})", ha="right", va="center", color=INK_COLOUR)
    for place, term in enumerate(terms.split()):
        count, _, parts = term.partition(":")
        boxes = [(3.2 * place + x, top - y) for y, size in enumerate(parts) for x in range(int(size))]
        colour = OURS_COLOUR if int(count) > 0 else RIVAL_COLOUR
        axes.scatter(3.2 * place, top, s=40, color=colour)  # what is left of a weight without boxes
        for box in boxes:
            axes.scatter(*box, s=120, marker="s", color=colour)


def draw(figures: Figures) -> Figure:
    """Draw the expansions of Sp(2n) as signed diagrams, and the weights of one character."""
    figure = new_figure(11.5, 5.2)
    diagrams, weights = figure.subplots(1, 2, width_ratios=[1.5, 1])
    for rank in range(1, 6):
        _draw_terms(diagrams, rank, figures[f"terms, rank {rank}"])
    diagrams.set(xlim=(-4, 20), ylim=(-25.5, -1.2))
    style_axes(diagrams, "A product as a sum of characters", "all of  Π (1 + x² + x⁻²):  green +1, orange −1")
    for y in SHOWN_SPAN:
        for x, count in zip(SHOWN_SPAN, map(int, figures[f"weights, row {y}"].split()), strict=True):
            weights.scatter(x, y, s=6 + 75 * count, color=OURS_COLOUR if count else LINE_COLOUR)
            weights.text(x, y, str(count or ""), ha="center", va="center", fontsize=8, color="white")
    style_axes(weights, f"The weights of {SHOWN_WEIGHT} in Sp(4)", "with their multiplicities")
    for axes in (diagrams, weights):
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
    return figure


STUDY = Study(
    number=34,
    title="Generating functions for characters of classical groups",
    paper="King, arXiv 2303.00576 (2023)",
    claims=(
        Claim(
            "Coefficients follow a recurrence from the Weyl group",
            paper="recurrences for all classical groups",
            here="{certified} of {expansions} expansions to rank {ranks} are the same polynomial",
            holds=lambda figures: figures["certified"] == figures["expansions"],
        ),
        Claim(
            "Symplectic coefficients of the product of 1 + x^2 + x^-2 are -1, 0 or 1, and periodic in the rank",
            paper="rather simple, in some cases periodic",
            here="largest {largest} in rank 5; the trivial character has period {period, Sp}",
            holds=lambda figures: figures["largest"] == 1 and figures["period, Sp"] > 0,
        ),
        Claim(
            "Dual pairs: a kernel in two sets of variables meets every weight with one partner",
            paper="Sp with Sp, SO with SO, O with O",
            here="{dual pairs} of {pairs} pairs of one kind; {dual mixed pairs} of {mixed pairs} of Sp with SO odd",
            holds=lambda figures: figures["dual pairs"] == figures["pairs"] and not figures["dual mixed pairs"],
        ),
        Claim(
            "Spin expansions can be recovered from others",
            paper="always",
            here="{equal spin expansions} of {spin expansions} of SO(2n+1) are those of Sp(2n)",
            holds=lambda figures: figures["equal spin expansions"] == figures["spin expansions"],
        ),
    ),
    run=run,
    draw=draw,
    engine="Nothing: a coefficient is a recurrence of a few terms in the rank, and is exact at once.",
    deviates="Ranks to {ranks}, four factors; of O(2n) the connected component, and spin of SO(2n+1) alone.",
)
