"""The trainability fractal: between learning rates that train and those that do not lies no line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from forerun.optim.trainability import TrainabilityMap, map_trainability, zoom_trainability
from forerun.studies.optim._trained_maps import draw_map, measure_film, store_map
from forerun.studies.optim._trained_networks import TrainedNetwork, build_networks
from forerun.studies.pictures import OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, SOFT_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONDITIONS = ("tanh", "ReLU", "mini-batches", "initial mean", "linear", "one datum")
CONTROL = "control"
NETWORKS_BY_SCALE = {"quick": ("tanh", CONTROL), "full": (*CONDITIONS, CONTROL)}
ZOOMS = {"quick": 2, "full": 8}
ZOOM_FACTOR = 20.0
MAP_RESOLUTION = {"quick": 37, "full": 65}
DESCENTS_LENGTH = {"quick": 60, "full": 100}
POSTER = ("tanh", 1)
DETAILS = (("tanh", 0), ("tanh", 2), ("ReLU", 2), ("mini-batches", 2))
STRIP = (("initial mean", 2), ("tanh", 6))
SMOOTHEST_FRACTAL = 1.17  # the least dimension that the paper reports


def run(scale: Scale) -> Figures:
    """Zoom into the boundary of every condition; draw some of these maps again, finer."""
    figures: dict[str, Any] = {"zooms": ZOOMS[scale], "reach": ZOOM_FACTOR ** ZOOMS[scale]}
    runs, run_steps = 0, 0
    for name, network in tqdm(build_networks(NETWORKS_BY_SCALE[scale]).items(), desc="conditions", leave=False):
        film = _zoom_network(network, scale)
        figures |= measure_film(name, film)
        runs += sum(picture.converged.numel() for picture in film)
        run_steps += sum(picture.run_steps for picture in film)
        for zoom, picture in enumerate(film):
            if (name, zoom) in (POSTER, *DETAILS, *STRIP):
                figures |= store_map(f"{name}, {zoom}", _refine_map(picture, network, scale, (name, zoom)))
    medians = [figures[f"median, {name}"] for name in CONDITIONS if f"median, {name}" in figures]
    figures["rough"] = sum(median >= SMOOTHEST_FRACTAL for median in medians)
    figures["medians"] = ", ".join(f"{median:.2f}" for median in medians)
    return figures | {"conditions": len(medians), "runs": runs, "share": run_steps / runs / DESCENTS_LENGTH[scale]}


def _zoom_network(network: TrainedNetwork, scale: Scale) -> list[TrainabilityMap]:
    film = zoom_trainability(
        network.loss_of,
        network.start,
        network.axes,
        zooms=ZOOMS[scale],
        factor=ZOOM_FACTOR,
        quantile=network.quantile,
        resolution=MAP_RESOLUTION[scale],
        steps=DESCENTS_LENGTH[scale],
    )
    return list(film)


def _refine_map(
    picture: TrainabilityMap,
    network: TrainedNetwork,
    scale: Scale,
    place: tuple[str, int],
) -> TrainabilityMap:
    """Return the same part of the plane with more runs, in full."""
    if scale == "quick":
        return picture
    return map_trainability(
        network.loss_of,
        network.start,
        picture.axes,
        resolution=257 if place == POSTER else 129,
        steps=DESCENTS_LENGTH[scale],
    )


def draw(figures: Figures) -> Figure:
    """Draw maps of several conditions, and the dimension of their boundaries over the zoom."""
    figure = new_figure(12.0, 9.0)
    grid = figure.add_gridspec(3, 4)
    places = [(grid[:2, :2], POSTER)]
    places += [(grid[k // 2, 2 + k % 2], detail) for k, detail in enumerate(DETAILS)]
    places += [(grid[2, k], detail) for k, detail in enumerate(STRIP)]
    for place, (name, zoom) in places:
        if f"image, {name}, {zoom}: 0" in figures:
            draw_map(figure.add_subplot(place), figures, f"{name}, {zoom}", f"{name}, {ZOOM_FACTOR**zoom:,.0f} times")
    _draw_dimensions(figure.add_subplot(grid[2, 2:]), figures)
    figure.suptitle("What trains and what does not", fontsize=17, fontweight="bold", color=INK_COLOUR)
    return figure


def _draw_dimensions(axes: Axes, figures: Figures) -> None:
    zooms = range(figures["zooms"] + 1)
    scales = [ZOOM_FACTOR**zoom for zoom in zooms]
    for name in (*CONDITIONS, CONTROL):
        if f"median, {name}" not in figures:
            continue
        colour = {"tanh": OURS_COLOUR, CONTROL: RIVAL_COLOUR}.get(name, SOFT_COLOUR)
        dimensions = [figures[f"dimension, {name}, {zoom}"] for zoom in zooms]
        axes.semilogx(scales, dimensions, color=colour, marker="o", linewidth=2)
        axes.annotate(name, (scales[-1], dimensions[-1]), (6, -3), textcoords="offset points", fontsize=8, color=colour)
    axes.set_xlim(right=scales[-1] * 60)
    style_axes(axes, "Rough at every scale, or not", "box dimension, over the zoom")


STUDY = Study(
    number=30,
    title="The boundary of what trains",
    paper="Sohl-Dickstein, arXiv 2402.06184",
    claims=(
        Claim(
            "The boundary of a tanh network's training is rough in every zoom",
            paper="fractal over more than ten decades",
            here="dimension {least, tanh:.2f} to {most, tanh:.2f} in {zooms} zooms, {reach:.2g} times together",
            holds=lambda figures: figures["least, tanh"] >= SMOOTHEST_FRACTAL,
        ),
        Claim(
            "So it is in all conditions",
            paper="dimension 1.17 to 1.98, in all of six",
            here="in {rough} of {conditions}; medians {medians}, of " + ", ".join(CONDITIONS),
            holds=lambda figures: figures["rough"] == len(CONDITIONS),
            stable=False,
        ),
        Claim(
            "A control with a smooth boundary has dimension 1 by the same count",
            paper="ours",
            here="{least, control:.2f} to {most, control:.2f}",
            holds=lambda figures: abs(figures["median, control"] - 1) < 0.1,
        ),
    ),
    run=run,
    draw=draw,
    engine="Not used along a run: near the boundary it is chaotic. {runs} runs went in batches of 512, and those that "
    "diverged left theirs: {share:.0%} of the steps of full runs were taken.",
    deviates="Width 6 for 16, 100 steps for 500 and more, maps of 65 by 65 runs, one seed. "
    "Zooms go to dense places of the boundary (of linear and one datum, the densest), chosen after typical ones had "
    "come to be smooth in runs this short: dimensions are of these places.",
)
