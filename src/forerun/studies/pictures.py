"""Pictures that studies share: rivals on a line for each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forerun.view.canvas import ACCEPTED_COLOUR, INK_COLOUR, SOFT_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IN_ORDER_COLOUR = SOFT_COLOUR
OURS_COLOUR = ACCEPTED_COLOUR
RIVAL_COLOUR = "#fb8c00"
LINE_COLOUR = "#eceff1"

PANELS = {"rounds": "what wall-clock pays for", "evaluations": "what compute pays for"}


def draw_rivals(
    figures: Mapping[str, Any],
    cases: Sequence[str],
    rivals: Mapping[str, str],
) -> Figure:
    """Draw rounds and evaluations of several rivals, a line for each case.

    Args:
        figures: of the study, named `"rounds, CASE, RIVAL"`.
        cases: from above.
        rivals: their colours.
    """
    figure = new_figure(9.6, 1.7 + 0.7 * len(cases))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (quantity, subtitle) in zip(panels, PANELS.items(), strict=True):
        counts = [[figures[f"{quantity}, {case}, {rival}"] for case in cases] for rival in rivals]
        for column, (rival, colour) in zip(counts, rivals.items(), strict=True):
            draw_counts(axes, column, rival, colour)
        _draw_lines(axes, counts)
        _set_axes(axes, cases)
        style_axes(axes, quantity.capitalize(), subtitle)
        axes.tick_params(axis="y", length=0, labelsize=10)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(rivals),
        frameon=False,
        labelcolor=INK_COLOUR,
    )
    return figure


def draw_counts(axes: Axes, counts: Sequence[float], rival: str, colour: str) -> None:
    """Draw a dot for each case of a rival, with its number: ours below the dot, those of others above."""
    axes.scatter(counts, range(len(counts)), s=120, color=colour, label=rival, zorder=2, edgecolor="white")
    offset = -17 if colour == OURS_COLOUR else 9
    for place, count in enumerate(counts):
        axes.annotate(
            format_count(count),
            (count, place),
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=colour,
        )


def _draw_lines(axes: Axes, counts: Sequence[Sequence[float]]) -> None:
    """Draw a line for each case, from its smallest to its largest count."""
    for place, ends in enumerate(zip(*counts, strict=True)):
        axes.hlines(place, min(ends), max(ends), color=LINE_COLOUR, linewidth=8, zorder=1)


def format_count(count: float) -> str:
    """Return a mean count with three digits; a large one whole."""
    return f"{count:.0f}" if count >= 100 else f"{count:.3g}"


def _set_axes(axes: Axes, cases: Sequence[str]) -> None:
    """Set a logarithmic axis with a little room around, and the cases from above."""
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(cases)), cases)
    axes.set_ylim(len(cases) - 0.5, -0.6)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.grid(axis="x", color=LINE_COLOUR, linewidth=0.8, zorder=0)
