"""The wavefront of a run: which steps were in flight in which round, and how far they still were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forerun.engine.rounds import Round
from forerun.engine.solution import Solution
from forerun.view.canvas import ACCEPTED, BLANK, INK, SOFT, canvas, figure_of, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, LogNorm
    from matplotlib.figure import Figure

CELLS = 2048  # rows and columns that are drawn at most; beyond, every second, third, ... is drawn
OUTSIDE, WAITING, DONE = 0, 1, 2  # what a slot is


@dataclass(frozen=True)
class Grid:
    """The slots of a run, thinned to what a picture can show.

    Attributes:
        kind: uint8 `(rows, columns)`: outside the window, waiting or accepted.
        size: float32 `(rows, columns)`: the residual in units of the threshold; infinite where not finite.
        extent: left, right, bottom and top in steps and rounds.
    """

    kind: Tensor
    size: Tensor
    extent: tuple[float, float, float, float]

    @classmethod
    def of(cls, solution: Solution) -> Grid:
        """The slots of a solution's log."""
        rows = [entry for entry in _iterations(solution) for _ in range(max(entry.rounds, 1))]
        first = solution.rounds - len(rows)  # a resumed run has rounds behind it
        thin, stride = _stride(len(rows)), _stride(solution.length)
        shown = rows[::thin]
        kind = torch.zeros(max(len(shown), 1), max(-(-solution.length // stride), 1), dtype=torch.uint8)
        size = torch.zeros(kind.shape)
        for index, entry in enumerate(shown):
            begin = -(-entry.start // stride)  # the first column at or after the window's start
            residuals = torch.tensor(entry.residuals)[begin * stride - entry.start :: stride]
            accepted = -(-(entry.start + entry.accepted) // stride) - begin
            kind[index, begin : begin + len(residuals)] = WAITING
            kind[index, begin : begin + accepted] = DONE
            size[index, begin : begin + len(residuals)] = _relative(residuals, entry.threshold)
        bottom = first + max(len(rows), 1) + 0.5
        return cls(kind, size, (0.0, float(max(solution.length, 1)), bottom, first + 0.5))

    @property
    def waiting(self) -> Tensor:
        """The finite sizes of the slots that were not accepted, `(n,)`."""
        sizes = self.size[self.kind == WAITING]
        return sizes[torch.isfinite(sizes)]


def wavefront(solution: Solution, *, axes: Axes | None = None) -> Figure:
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
    axes = canvas(8.0, 4.8) if axes is None else axes
    grid = Grid.of(solution)
    colours, norm = _colours(), _norm(grid)
    axes.imshow(_pixels(grid, colours, norm), extent=grid.extent, aspect="auto", interpolation="nearest")
    for line in _frontier(solution):
        axes.plot(*line, color=INK, linewidth=1.4, solid_capstyle="butt", solid_joinstyle="miter", zorder=3)
    _returns(axes, solution)
    _label(axes, solution, grid)
    _bar(axes, colours, norm)
    return figure_of(axes)


def _iterations(solution: Solution) -> list[Round]:
    """The log, with the rounds of a sequential stretch, which it holds as one entry, told apart."""
    found: list[Round] = []
    for entry in solution.log:
        if entry.in_order and entry.accepted == entry.width:
            steps = range(entry.start, entry.stop)
            found += [
                replace(entry, start=step, stop=step + 1, accepted=1, rounds=1, residuals=(0.0,)) for step in steps
            ]
        else:
            found.append(entry)
    return found


def _stride(count: int) -> int:
    return max(-(-count // CELLS), 1)


def _relative(residuals: Tensor, threshold: float) -> Tensor:
    """In units of the threshold; a threshold of zero leaves what is zero, and all else is far beyond it."""
    relative = residuals / threshold if threshold > 0 else torch.where(residuals == 0, 0.0, torch.inf)
    return relative.nan_to_num(torch.inf, torch.inf)


def _colours() -> Colormap:
    """Pale where a slot is nearly there, dark where it is far; the ends of the map left out, as paper and ink."""
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    shades = mpl.colormaps["magma_r"](torch.linspace(0.06, 0.9, 256).numpy())
    return ListedColormap(shades, name="wavefront")


def _norm(grid: Grid) -> LogNorm:
    """From a little below the threshold, or the smallest residual, to the largest; at least a decade either side."""
    from matplotlib.colors import LogNorm

    sizes = grid.waiting
    sizes = sizes[sizes > 0]
    low = float(sizes.quantile(0.02)) if 0 < len(sizes) < 10**6 else 0.1
    high = float(sizes.max()) if len(sizes) else 10.0
    return LogNorm(min(max(low, 1e-3), 0.1), max(high, 10.0))


def _pixels(grid: Grid, colours: Colormap, norm: LogNorm) -> Any:
    """The picture, uint8 `(rows, columns, 4)`."""
    from matplotlib.colors import to_rgba

    sizes = grid.size.clamp_min(norm.vmin or 0.0).numpy()
    pixels = colours(norm(sizes), bytes=True)
    for slots, colour in (
        (grid.size.isinf(), "black"),  # not finite
        (grid.kind == OUTSIDE, BLANK),
        (grid.kind == DONE, ACCEPTED),
    ):
        pixels[slots.numpy()] = [round(255 * part) for part in to_rgba(colour)]
    return pixels


def _stretches(solution: Solution) -> list[list[tuple[float, Round]]]:
    """The iterations, each with the round before it, in stretches without going back."""
    before, stretches = float(solution.rounds - sum(max(entry.rounds, 1) for entry in solution.log)), []
    front = None
    for entry in _iterations(solution):
        if entry.start != front:
            stretches.append([(before, entry)])
        else:
            stretches[-1].append((before, entry))
        before, front = before + max(entry.rounds, 1), entry.start + entry.accepted
    return stretches


def _frontier(solution: Solution) -> list[tuple[list[float], list[float]]]:
    """The accepted frontier, as steps and rounds: one line for each stretch without going back."""
    lines = []
    for stretch in _stretches(solution):
        steps, rounds = [float(stretch[0][1].start)], [stretch[0][0] + 0.5]
        for before, entry in stretch:
            end = float(entry.start + entry.accepted)
            steps += [end, end]
            rounds += [before + 0.5, before + 0.5 + max(entry.rounds, 1)]
        lines.append((steps, rounds))
    return lines


def _returns(axes: Axes, solution: Solution) -> None:
    """Where the check sent the run back: a dotted line to where it began again."""
    stretches = _stretches(solution)
    for left, right in pairwise(stretches):
        end, begin = left[-1][1].start + left[-1][1].accepted, right[0][1].start
        axes.plot([begin, end], [right[0][0] + 0.5] * 2, color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)), zorder=3)


def _label(axes: Axes, solution: Solution, grid: Grid) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    left, right, bottom, top = grid.extent
    axes.set_xlabel("step")
    axes.set_ylabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    marks = MaxNLocator(integer=True, min_n_ticks=1).tick_values(top, bottom)
    first = {1} if top < 1 else set()  # rather than a mark at zero
    axes.set_yticks(sorted(first | {int(mark) for mark in marks if top < mark < bottom}))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    tidy(axes, *_title(solution))
    keys: Sequence[Any] = [
        Patch(facecolor=ACCEPTED, label="accepted"),
        Line2D([], [], color=INK, linewidth=1.4, label="frontier"),
        Patch(facecolor=BLANK, edgecolor=SOFT, linewidth=0.6, label="outside the window"),
    ]
    if len(_stretches(solution)) > 1:
        keys = [
            *keys,
            Line2D([], [], color=INK, linewidth=1.0, linestyle=(0, (1, 1.5)), label="sent back by the check"),
        ]
    axes.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=(-0.012, -0.13),
        ncols=len(keys),
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        columnspacing=1.6,
        labelcolor=INK,
    )


def _title(solution: Solution) -> tuple[str, str]:
    estimate = solution.deviation_estimate
    steps = "1 step" if solution.length == 1 else f"{solution.length} steps"
    reached = steps if solution.step == solution.length else f"{solution.step} of {steps}"
    return (
        f"{reached} in {solution.rounds} round{'s' if solution.rounds != 1 else ''}",
        f"{solution.evaluations} evaluations, {solution.inflation:.2f} a step   |   deviation "
        + ("not estimated" if estimate is None else f"estimated at {estimate:.1e}"),
    )


def _bar(axes: Axes, colours: Colormap, norm: LogNorm) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure_of(axes).colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.02, fraction=0.05, aspect=28)
    bar.set_label("residual, in units of the threshold", fontsize=9, color=INK)
    bar.ax.axhline(1.0, color=INK, linewidth=1.4)
    bar.ax.tick_params(labelsize=9, colors=INK)
    bar.outline.set_visible(False)
