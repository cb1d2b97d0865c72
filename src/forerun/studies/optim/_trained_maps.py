"""Maps of what trains, stored among figures and drawn in colours of how slowly runs end."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forerun.optim.trainability import TrainabilityMap
from forerun.studies.stored_images import read_image, store_image
from forerun.studies.study import Figures
from forerun.view.canvas import INK_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = ("#3e0d02", "#bf360c", "#fb8c00", "#ffe0b2", "#e0f7fa", "#4db6ac", "#00695c", "#00201c")


def measure_film(name: str, film: Sequence[TrainabilityMap]) -> dict[str, float]:
    """Return the box dimensions of the maps of a zoom, and their range and median after the first."""
    dimensions = [picture.measure_dimension() for picture in film]
    figures = {}
    for zoom, measured in enumerate(dimensions):
        figures[f"dimension, {name}, {zoom}"] = measured.dimension
        figures[f"error, {name}, {zoom}"] = measured.error
    zoomed = [measured.dimension for measured in dimensions[1:]]
    figures[f"least, {name}"], figures[f"most, {name}"] = min(zoomed), max(zoomed)
    figures[f"median, {name}"] = statistics.median(zoomed)
    return figures


def store_map(name: str, picture: TrainabilityMap) -> dict[str, str]:
    """Return the shades of a map as an image among figures."""
    pixels = (127.5 + 127.5 * picture.shade_pixels()).round().byte().numpy()
    return store_image(name, pixels, 80)


def draw_map(axes: Axes, figures: Figures, name: str, label: str) -> None:
    """Draw a map with its dimension: brown to cream where runs diverged, pale to dark green where they converged."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("trainability", SHADES)
    pixels = read_image(figures, name)
    axes.imshow(pixels, cmap=colours, vmin=0, vmax=255, origin="lower", interpolation="nearest")
    axes.set_axis_off()
    dimension = figures[f"dimension, {name}"]
    axes.set_title(f"{label}: dimension {dimension:.2f}", loc="left", fontsize=9, color=INK_COLOUR)
