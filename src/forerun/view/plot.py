"""The wavefront of a run: step by round, coloured by residual, with the accepted frontier as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forerun.engine.rounds import Round
from forerun.engine.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 4.0  # of residual over limit, up and down, that the colours span
ACCEPTED = "#d9e7dc"


def wavefront(solution: Solution, *, axes: Axes | None = None) -> Figure:
    """Draw every round as a row: its window, the residual of each step over the limit, and the accepted frontier.

    Args:
        solution: a run.
        axes: where to draw; None for a figure of its own.

    Returns:
        The figure, to show or to `savefig`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'forerun[plot]'") from error
    if axes is None:
        figure = Figure(figsize=(9, 4.8), layout="constrained")
        axes = figure.subplots()
    else:
        figure = axes.figure  # type: ignore[assignment]
    _draw(axes, solution.log, solution.length)
    estimate = solution.deviation_estimate
    close = "" if estimate is None else f", deviation about {estimate:.1e}"
    axes.set_title(f"{solution.step} steps in {solution.rounds} rounds, {solution.evaluations} evaluations{close}")
    return figure


def _draw(axes: Axes, log: Sequence[Round], length: int) -> None:
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.ticker import MaxNLocator

    pixels, accepted = _picture(log, length)
    extent = (0, length, len(log) + 0.5, 0.5)
    options: dict[str, Any] = {"extent": extent, "aspect": "auto", "interpolation": "nearest"}
    axes.imshow(accepted, cmap=ListedColormap([ACCEPTED]), **options)
    image = axes.imshow(pixels, norm=LogNorm(10**-DECADES, 10**DECADES), cmap="magma_r", **options)
    edges = [0.5 + index for index in range(len(log) + 1)]
    frontier = [entry.start + entry.accepted for entry in log]
    line: dict[str, Any] = {"color": "#1b7f4d", "linewidth": 1.8, "label": "accepted"}
    axes.stairs(frontier, edges, orientation="horizontal", baseline=None, **line)
    axes.set(xlabel="step", ylabel="round", xlim=(0, length), ylim=(len(log) + 0.5, 0.5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left", framealpha=0.9)
    axes.figure.colorbar(image, ax=axes, label="residual / limit (1 is accepted)", extend="both")


def _picture(log: Sequence[Round], length: int) -> tuple[Any, Any]:
    """Two masked arrays of one row a round: residual over limit in the window, and what was accepted before."""
    import numpy as np

    pixels = np.full((len(log), length), np.nan)
    done = np.full((len(log), length), np.nan)
    for row, entry in enumerate(log):
        sizes = np.asarray(entry.residuals) / max(entry.limit, 1e-300)
        # a step that did not move at all is exact: the darkest end of the scale would be a lie, the lowest is right
        pixels[row, entry.start : entry.stop] = np.clip(np.nan_to_num(sizes, nan=np.inf), 10**-DECADES, 10**DECADES)
        done[row, : entry.start] = 1.0
    return np.ma.masked_invalid(pixels), np.ma.masked_invalid(done)
