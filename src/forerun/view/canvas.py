"""The paper that pictures are drawn on: figures without global state, colours, titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, FRAME, BLANK, ACCEPTED = "#263238", "#90a4ae", "#cfd8dc", "#ffffff", "#00897b"


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of a size in inches, which knows of no window and no other figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures are drawn by matplotlib: pip install 'forerun[plot]'") from error
    return Figure((width, height), dpi=150, layout=layout, facecolor="white")


def canvas(width: float, height: float) -> Axes:
    """Axes alone in a new figure."""
    return new_figure(width, height).add_subplot()


def figure_of(axes: Axes) -> Figure:
    """The whole figure that axes stand in."""
    return cast("Figure", axes.get_figure(root=True))


def tidy(axes: Axes, title: str, subtitle: str) -> None:
    """A title with a line of figures below it, to the left; frame and ticks that stay in the background."""
    axes.set_title(f"{title}\n", loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.text(0.0, 1.02, subtitle, transform=axes.transAxes, fontsize=9.5, color=INK, va="bottom")
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for name, side in axes.spines.items():
        side.set_visible(name in ("left", "bottom"))
        side.set_color(SOFT)
