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


def draw_rivals(figures: Mapping[str, Any], cases: Sequence[str], rivals: Mapping[str, str]) -> Figure:
    """Draw rounds and evaluations of several rivals, a line for each case.

    Args:
        figures: of the study, named `"rounds, CASE, RIVAL"`.
        cases: from above.
        rivals: their colours.
    """
    figure = new_figure(9.6, 1.6 + 0.65 * len(cases))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (what, subtitle) in zip(panels, PANELS.items(), strict=True):
        for rival, colour in rivals.items():
            counts = [figures[f"{what}, {case}, {rival}"] for case in cases]
            axes.scatter(counts, range(len(cases)), s=110, color=colour, label=rival, zorder=2, edgecolor="white")
        for place, case in enumerate(cases):
            ends = [figures[f"{what}, {case}, {rival}"] for rival in rivals]
            axes.hlines(place, min(ends), max(ends), color=LINE_COLOUR, linewidth=8, zorder=1)
        _set_axes(axes, cases, what.capitalize(), subtitle)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(rivals), frameon=False)
    return figure


def _set_axes(axes: Axes, cases: Sequence[str], title: str, subtitle: str) -> None:
    axes.set_xscale("log")
    axes.set_yticks(range(len(cases)), cases, color=INK_COLOUR)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.grid(axis="x", color=LINE_COLOUR, linewidth=0.8, zorder=0)
    style_axes(axes, title, subtitle)
