"""The wavefront of a run: which steps were in flight in which round, and how far they still were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from forerun.engine.rounds import Round
from forerun.engine.solution import Solution
from forerun.view.canvas import (
    ACCEPTED_COLOUR,
    BLANK_COLOUR,
    INK_COLOUR,
    SOFT_COLOUR,
    new_axes,
    root_figure,
    style_axes,
)
from forerun.view.formatting import count_noun, format_estimate
from forerun.view.slot_grid import ACCEPTED, OUTSIDE, SlotGrid, rounds_of_entry, rounds_of_log, split_iterations

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, LogNorm
    from matplotlib.figure import Figure

DOTTED_LINE = (0, (1, 1.5))
MAX_QUANTILE_SIZES = 10**6  # more numbers than torch sorts for a quantile


@dataclass(frozen=True)
class FrontierPoint:
    """An iteration of the log, and the rounds made before it."""

    rounds_before: float
    entry: Round

    @property
    def top(self) -> float:
        """The upper edge of its row, on the axis of rounds."""
        return self.rounds_before + 0.5

    @property
    def end(self) -> float:
        """The step up to which all is accepted after it."""
        return float(self.entry.start + self.entry.accepted)


Frontier = Sequence[FrontierPoint]  # iterations between two of the check's returns


def draw_wavefront(solution: Solution, *, axes: Axes | None = None) -> Figure:
    """Draw a run: step by round, coloured by residual, with the accepted frontier as a line.

    A slot's colour is its residual in units of the threshold that it was held against, on a log scale; slots that the
    round accepted are of one colour, slots outside the window are blank. Where the check sent the run back, the
    frontier is broken and begins again at an earlier step.

    Args:
        solution: of `solve`.
        axes: where to draw; a new figure unless given.

    Returns:
        The figure; `.savefig(path)` writes it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    axes = new_axes(8.0, 4.8) if axes is None else axes
    grid = SlotGrid.from_solution(solution)
    colours = _colour_map()
    norm = _colour_scale(grid)
    pixels = _paint_grid(grid, colours, norm)
    axes.imshow(pixels, extent=grid.extent, aspect="auto", interpolation="nearest")
    frontiers = _split_frontiers(solution)
    for frontier in frontiers:
        _draw_frontier(axes, frontier)
    for before, after in pairwise(frontiers):
        _draw_return(axes, before, after)
    _label_axes(axes, solution, grid)
    _draw_legend(axes, with_returns=len(frontiers) > 1)
    _draw_colour_bar(axes, colours, norm)
    return root_figure(axes)


def _colour_map() -> Colormap:
    """Return shades that are pale where a slot is nearly there and dark where it is far.

    The ends of the map are left out, as they are paper and ink.
    """
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    shades = mpl.colormaps["magma_r"](torch.linspace(0.06, 0.9, 256).numpy())
    return ListedColormap(shades, name="wavefront")


def _colour_scale(grid: SlotGrid) -> LogNorm:
    """Return the scale from a little below the threshold, or the smallest residual, to the largest.

    At least a decade on either side of the threshold.
    """
    from matplotlib.colors import LogNorm

    low, high = 0.1, 10.0
    sizes = grid.waiting_sizes
    sizes = sizes[sizes > 0]
    if len(sizes):
        high = float(sizes.max())
    if 0 < len(sizes) < MAX_QUANTILE_SIZES:
        low = float(sizes.quantile(0.02))
    return LogNorm(min(max(low, 1e-3), 0.1), max(high, 10.0))


def _paint_grid(grid: SlotGrid, colours: Colormap, norm: LogNorm) -> Any:
    """Return the picture, uint8 `(rows, columns, 4)`."""
    from matplotlib.colors import to_rgba

    sizes = grid.size.clamp_min(norm.vmin or 0.0).numpy()
    pixels = colours(norm(sizes), bytes=True)
    layers = (
        (grid.size.isinf(), "black"),  # not finite
        (grid.kind == OUTSIDE, BLANK_COLOUR),
        (grid.kind == ACCEPTED, ACCEPTED_COLOUR),
    )
    for slots, colour in layers:
        pixels[slots.numpy()] = [round(255 * channel) for channel in to_rgba(colour)]
    return pixels


def _split_frontiers(solution: Solution) -> list[list[FrontierPoint]]:
    """Return the iterations, split where the check sent the run back."""
    rounds_before = float(solution.rounds - rounds_of_log(solution.log))
    frontiers: list[list[FrontierPoint]] = []
    end = None
    for entry in split_iterations(solution.log):
        if entry.start != end:
            frontiers.append([])
        frontiers[-1].append(FrontierPoint(rounds_before, entry))
        rounds_before += rounds_of_entry(entry)
        end = entry.start + entry.accepted
    return frontiers


def _draw_frontier(axes: Axes, frontier: Frontier) -> None:
    """Draw what is accepted as a staircase over steps and rounds."""
    steps = [float(frontier[0].entry.start)]
    rounds = [frontier[0].top]
    for point in frontier:
        steps += [point.end, point.end]
        rounds += [point.top, point.top + rounds_of_entry(point.entry)]
    axes.plot(
        steps,
        rounds,
        color=INK_COLOUR,
        linewidth=1.4,
        solid_capstyle="butt",
        solid_joinstyle="miter",
        zorder=3,
    )


def _draw_return(axes: Axes, before: Frontier, after: Frontier) -> None:
    """Draw where the check sent the run back: a dotted line to where it began again."""
    steps = [after[0].entry.start, before[-1].end]
    rounds = [after[0].top, after[0].top]
    axes.plot(
        steps,
        rounds,
        color=INK_COLOUR,
        linewidth=1.0,
        linestyle=DOTTED_LINE,
        zorder=3,
    )


def _label_axes(axes: Axes, solution: Solution, grid: SlotGrid) -> None:
    from matplotlib.ticker import MaxNLocator

    left, right, bottom, top = grid.extent
    axes.set_xlabel("step")
    axes.set_ylabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yticks(_round_ticks(top, bottom))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    style_axes(axes, _title(solution), _subtitle(solution))


def _round_ticks(top: float, bottom: float) -> list[int]:
    """Return whole rounds to mark, the first rather than a zero."""
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(integer=True, min_n_ticks=1).tick_values(top, bottom)
    ticks = {int(value) for value in values if top < value < bottom}
    if top < 1:
        ticks.add(1)
    return sorted(ticks)


def _draw_legend(axes: Axes, *, with_returns: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=ACCEPTED_COLOUR, label="accepted"),
        Line2D([], [], color=INK_COLOUR, linewidth=1.4, label="frontier"),
        Patch(
            facecolor=BLANK_COLOUR,
            edgecolor=SOFT_COLOUR,
            linewidth=0.6,
            label="outside the window",
        ),
    ]
    if with_returns:
        label = "sent back by the check"
        handles.append(
            Line2D(
                [],
                [],
                color=INK_COLOUR,
                linewidth=1.0,
                linestyle=DOTTED_LINE,
                label=label,
            )
        )
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.012, -0.13),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        columnspacing=1.6,
        labelcolor=INK_COLOUR,
    )


def _title(solution: Solution) -> str:
    steps = count_noun(solution.length, "step")
    if solution.step < solution.length:
        steps = f"{solution.step} of {steps}"
    return f"{steps} in {count_noun(solution.rounds, 'round')}"


def _subtitle(solution: Solution) -> str:
    work = f"{solution.evaluations} evaluations, {solution.inflation:.2f} a step"
    estimate = format_estimate(solution.deviation_estimate)
    if solution.deviation_estimate is not None:
        estimate = f"estimated at {estimate}"
    return f"{work}   |   deviation {estimate}"


def _draw_colour_bar(axes: Axes, colours: Colormap, norm: LogNorm) -> None:
    from matplotlib.cm import ScalarMappable

    mappable = ScalarMappable(norm, colours)
    bar = root_figure(axes).colorbar(
        mappable,
        ax=axes,
        pad=0.02,
        fraction=0.05,
        aspect=28,
    )
    bar.set_label("residual, in units of the threshold", fontsize=9, color=INK_COLOUR)
    bar.ax.axhline(1.0, color=INK_COLOUR, linewidth=1.4)
    bar.ax.tick_params(labelsize=9, colors=INK_COLOUR)
    bar.outline.set_visible(False)
