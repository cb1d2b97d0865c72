"""Alternating Apery-type series: digits in balls, closed forms, and relations that are proven not to be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10, prod
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.exact.apery import BinomialSeries, ColouredZeta, exclude_relations, find_relation, silver_constants
from forerun.exact.exact_libraries import load_flint, load_mpmath
from forerun.limits import Aitken, Levin, Shanks
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGITS = {"quick": 250, "full": 500}
TRANSFORMS = {"plain": None, "Aitken": Aitken(), "Shanks": Shanks(), "Levin": Levin()}
TERMS = range(3, 22)
BASES = {  # by weight, with l for log 2, L for log(1 + sqrt 2), p for pi and q for 3 - 2 sqrt 2
    1: "sqrt2*L",
    2: "L*L L*l l*l p*p Li2(q)",
    3: "z3 Li3(q) L*L*L L*L*l L*l*l l*l*l p*p*L p*p*l Li2(q)*L",
    4: "Li4(1-q) Li4(q/(q-1)) Li4(q) z3*L z3*l Li3(q)*L Li3(q)*l Li3(1-q)*L Li2(q)*L*L Li2(q)*Li2(q) "
    "L*L*L*L L*L*L*l L*L*l*l L*l*l*l l*l*l*l p*p*p*p p*p*L*L p*p*L*l p*p*l*l",
}


def run(scale: Scale) -> Figures:
    """Find closed forms of weight one to four, exclude others, and accelerate the sums."""
    digits = DIGITS[scale]
    with load_flint().ctx.workprec(4 * digits):
        constants = silver_constants(digits)
        sums = {weight: BinomialSeries(weight).evaluate(digits) for weight in range(1, 5)}
        bases, figures = list_bases(constants), dict[str, Any](digits=digits)
        for weight, terms in tqdm(bases.items(), desc="weights", leave=False):
            relation = find_relation([sums[weight], *terms.values()], max_height=10**5)
            coefficients = relation.coefficients or (0,)
            figures[f"height, weight {weight}"] = max(map(abs, coefficients)) if coefficients[0] else 0
            figures[f"residual, weight {weight}"] = relation.residual_bound
        l, p, G, z3 = (constants[name] for name in ("log2", "pi", "G", "zeta3"))  # noqa: E741
        figures |= _reach_level_eight(bases | {1: {"l": l}}, p * G, digits)
        figures |= _exclude_level_four({2: [sums[2], p * p, l * l, G, p * l], 3: [sums[3], z3, p * p * l, l**3, p * G]})
    return figures | _accelerate()


def list_bases(constants: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return, for every weight, what its series is looked for in: products, by their factors."""
    values = {"l": constants["log2"], "p": constants["pi"], "z3": constants["zeta3"], **constants}
    words = {weight: line.split() for weight, line in BASES.items()}
    return {weight: {word: prod(map(values.get, word.split("*"))) for word in words[weight]} for weight in words}


def _reach_level_eight(bases: Mapping[int, Mapping[str, Any]], circle: Any, digits: int) -> dict[str, Any]:
    """Express the polylogarithms that occur in coloured zeta values of level eight; `circle` is pi times Catalan's."""
    double = ColouredZeta((1, 1), (1, 2)).evaluate(digits).real
    triples = [ColouredZeta((1, 1, 1), colours).evaluate(digits).real for colours in ((1, 2, 0), (1, 0, 2))]
    second = find_relation([*bases[2].values(), double])
    third = find_relation([*bases[3].values(), bases[2]["Li2(q)"] * bases[1]["l"], circle, *triples])
    worst = max(second.residual_bound, third.residual_bound)
    return {"residual, level 8": worst, "level 8": int(bool(second.value and third.value))}


def _exclude_level_four(values: Mapping[int, Sequence[Any]]) -> dict[str, float]:
    """Return proven heights below which the series of a weight have no relation with level four; and PSLQ beside."""
    heights: dict[str, float] = {f"level 4, weight {n}": float(exclude_relations(values[n])) for n in values}
    mpmath = load_mpmath()
    with mpmath.workdps(80):
        numbers = [mpmath.mpf(value.mid().str(90, radius=False)) for value in values[2]]
        searched = mpmath.pslq(numbers, maxcoeff=10**6, maxsteps=10**5)
    return heights | {"found by PSLQ": 0 if searched is None else 1}


def _accelerate() -> dict[str, float]:
    """Return digits of the sum of weight two from its first terms, plain and by transforms of sequences."""
    series = BinomialSeries(2)
    truth, sums = float(series.evaluate(20).mid()), series.partial_sums(max(TERMS))
    figures: dict[str, float] = {}
    for count in TERMS:
        for name, transform in TRANSFORMS.items():
            value = sums[count - 1] if transform is None else transform.extrapolate(sums[:count])
            figures[f"digits, {name}, {count}"] = -log10(abs(float(value) - truth) + 1e-16)
        figures[f"digits, certified, {count}"] = log10(((3 + 8**0.5) ** count) / 2 / float(abs(series.term(1))))
    return figures


def draw(figures: Figures) -> Figure:
    """Draw digits over terms, and heights to which relations are excluded."""
    figure = new_figure(11.0, 4.4)
    digits, heights = figure.subplots(1, 2, width_ratios=[1.15, 1])
    for name, colour in zip(TRANSFORMS, (IN_ORDER_COLOUR, "#5c6bc0", RIVAL_COLOUR, OURS_COLOUR), strict=True):
        digits.plot(TERMS, [figures[f"digits, {name}, {n}"] for n in TERMS], color=colour, linewidth=2, label=name)
    digits.plot(TERMS, [figures[f"digits, certified, {n}"] for n in TERMS], ":", color=INK_COLOUR, label="proven")
    digits.set(ylim=(0, 17), xlabel="terms")
    digits.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9, loc="upper left")
    style_axes(digits, "Digits of  Σ (−4)ⁿ / (n² C(2n, n))", "from its first terms, in float64")
    names = {f"a closed form, weight {w}": figures[f"height, weight {w}"] for w in (4, 3, 2, 1)}
    names |= {f"none at level 4, weight {w}": figures[f"level 4, weight {w}"] for w in (3, 2)}
    lengths = [log10(height) + 0.6 for height in names.values()]
    heights.barh(list(names), lengths, color=[OURS_COLOUR] * 4 + [RIVAL_COLOUR] * 2, height=0.6)
    style_axes(heights, "Relations, and that there are none", "digits of the coefficients found, or excluded")
    return figure


STUDY = Study(
    number=50,
    title="Alternating Apery-type series at level eight",
    paper="Xu and Zhao, Alternating Apery-type series and coloured multiple zeta values of level eight (2022)",
    claims=(
        Claim(
            "Series of weight one to three are made of constants of level eight",
            paper="theorem",
            here="residual balls below {residual, weight 3:.0e}; coefficients to {height, weight 3}",
            holds=lambda figures: all(figures[f"residual, weight {w}"] < 1e-80 for w in (1, 2, 3)),
        ),
        Claim(
            "So is that of weight four",
            paper="theorem; this form is ours",
            here="with Li4 at 2 sqrt 2 - 2, coefficients to {height, weight 4}, to {residual, weight 4:.0e}",
            holds=lambda figures: figures["residual, weight 4"] < 1e-80 and figures["height, weight 4"] > 0,
        ),
        Claim(
            "Their polylogarithms are coloured zeta values of level eight",
            paper="theorem",
            here="Li2 and Li3 at 3 - 2 sqrt 2, to {residual, level 8:.0e}",
            holds=lambda figures: figures["level 8"] and figures["residual, level 8"] < 1e-80,
        ),
        Claim(
            "Level four is not enough",
            paper="we need to raise the level",
            here="proven: no relation with coefficients to {level 4, weight 2:.0e}; PSLQ finds {found by PSLQ}",
            holds=lambda figures: min(figures["level 4, weight 2"], figures["level 4, weight 3"]) > 1e6,
        ),
        Claim(
            "Transforms of sequences sum the series from its first terms",
            paper="ours",
            here="{digits, Levin, 16:.1f} digits from 16 terms by Levin's; {digits, plain, 16:.1f} without",
            holds=lambda figures: figures["digits, Levin, 16"] > 10 > 4 > figures["digits, plain, 16"],
        ),
    ),
    run=run,
    draw=draw,
    engine="The transforms of fixed points sum series too: {digits, Levin, 16:.1f} digits from 16 terms by `Levin()`, "
    "{digits, Shanks, 16:.1f} by `Shanks()`, {digits, plain, 16:.1f} by the sum itself. Certified digits have a bound.",
    deviates="Weight to four, base -4, {digits} digits. A residual is evidence of an identity; a height is a proof.",
)
