"""The paper that pictures are drawn on: figures without global state, colours, titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK_COLOUR = "#263238"
SOFT_COLOUR = "#90a4ae"
FRAME_COLOUR = "#cfd8dc"
BLANK_COLOUR = "#ffffff"
ACCEPTED_COLOUR = "#00897b"


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure of a size in inches, which shares no state with any window or other figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures are drawn by matplotlib: pip install 'forerun[plot]'") from error
    return Figure((width, height), dpi=150, layout=layout, facecolor="white")


def new_axes(width: float, height: float) -> Axes:
    """Return the only axes of a new figure."""
    return new_figure(width, height).add_subplot()


def root_figure(axes: Axes) -> Figure:
    """Return the whole figure that axes stand in."""
    return cast("Figure", axes.get_figure(root=True))


def style_axes(axes: Axes, title: str, subtitle: str) -> None:
    """Set a title with a line of figures below it, to the left; frame and ticks stay in the background."""
    axes.set_title(
        f"{title}\n",
        loc="left",
        fontsize=12,
        fontweight="bold",
        color=INK_COLOUR,
    )
    axes.text(
        0.0,
        1.02,
        subtitle,
        transform=axes.transAxes,
        fontsize=9.5,
        color=INK_COLOUR,
        va="bottom",
    )
    axes.tick_params(colors=INK_COLOUR, labelsize=9)
    axes.xaxis.label.set_color(INK_COLOUR)
    axes.yaxis.label.set_color(INK_COLOUR)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(SOFT_COLOUR)
