"""Trainability: which pairs of hyperparameters train, and how rough the boundary is between these and the others.

Thousands of runs of gradient descent are one batched chain; a run leaves it once its loss is far beyond where it
began. (Sohl-Dickstein,
arXiv 2402.06184). Runs do not go ahead of themselves here: near the boundary they are
chaotic, and nothing guesses the later steps of a chaotic run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from forerun.optim.box_dimension import BoxDimension, count_boxes, count_neighbours
from forerun.optim.hyper_axes import HyperAxis, begin_runs

__all__ = [
    "HyperAxis",
    "TrainabilityMap",
    "map_trainability",
    "zoom_trainability",
]

BatchedLoss = Callable[[Sequence[Tensor], int], Tensor]  # parameters (N, ...) and the step -> losses (N,)


@dataclass(frozen=True)
class TrainabilityMap:
    """Which runs converged, over a plane of two hyperparameters.

    Attributes:
        axes: of the rows and of the columns.
        converged: whether the last losses lie below the first one, bool `(R, R)`.
        durations: how slow: of a run that converged, the sum of its losses over the first; of another, the sum of
            their reciprocals; float64 `(R, R)`.
        run_steps: steps of single runs that were taken, all together.
        share: of the steps that runs without a stop would have taken.
    """

    axes: tuple[HyperAxis, HyperAxis]
    converged: Tensor
    durations: Tensor
    run_steps: int
    share: float

    def find_boundary(self) -> Tensor:
        """Return the cells between four neighbours that do not agree, bool `(R - 1, R - 1)`."""
        signs = self.converged
        corners = torch.stack([signs[:-1, :-1], signs[1:, :-1], signs[:-1, 1:], signs[1:, 1:]])
        return corners.any(0) & ~corners.all(0)

    def measure_dimension(self) -> BoxDimension:
        """Return the box dimension of the boundary.

        Raises:
            ValueError: there is next to no boundary in this map.
        """
        return count_boxes(self.find_boundary())

    def narrow_axes(self, factor: float, quantile: float = 0.9) -> tuple[HyperAxis, HyperAxis]:
        """Return axes so many times as short, around a place of the boundary.

        Args:
            factor: of the zoom.
            quantile: of the density of the boundary, over its cells, at the place: 1 for the densest, which may lead
                into salt and pepper; 0.5 for a typical one, where finite runs soon have a smooth boundary.

        Raises:
            ValueError: there is no boundary in this map, or a factor or quantile out of range.
        """
        if not 1 < factor < float("inf"):
            raise ValueError(f"a zoom's factor must be above one, got {factor}")
        if not 0 <= quantile <= 1:
            raise ValueError(f"a quantile lies between 0 and 1, got {quantile}")
        boundary = self.find_boundary()
        places = boundary.nonzero()
        if not len(places):
            raise ValueError("all runs of this map end alike: give axes=... that reach over the boundary")
        side = len(boundary)
        reach = max(int(side / factor / 2), 1)
        densities = count_neighbours(boundary, 2 * reach + 1)[boundary]
        place = places[densities.argsort(stable=True)[round(quantile * (len(places) - 1))]].tolist()
        narrow = []
        for axis, cell in zip(self.axes, place, strict=True):
            center = axis.low + (axis.high - axis.low) * (cell + 0.5) / side
            narrow.append(axis.narrow_range(center, factor))
        return narrow[0], narrow[1]

    def shade_pixels(self) -> Tensor:
        """Return shades `(R, R)` in [-1, 1]: below zero where runs diverged; the nearer to zero, the slower.

        They are ranks, so that all shades are used.
        """
        shades = torch.zeros_like(self.durations)
        for members, sign in ((self.converged, 1.0), (~self.converged, -1.0)):
            ranks = self.durations[members].argsort().argsort().double()
            shades[members] = sign * (1 - ranks / max(len(ranks), 1))
        return shades


def map_trainability(
    loss_of: BatchedLoss,
    start: Sequence[Tensor],
    axes: tuple[HyperAxis, HyperAxis],
    *,
    resolution: int = 129,
    steps: int = 200,
    tail: int = 20,
    ceiling: float = 1e10,
    batch: int = 512,
) -> TrainabilityMap:
    """Train once for every pair of two hyperparameters by gradient descent, and report which runs converge.

    Args:
        loss_of: takes the parameters of many runs `(N, ...)` and the step, and returns their losses `(N,)`, each of
            its own run alone; of a function of one run, `lambda parameters, step: torch.vmap(f)(*parameters)`.
        start: parameters of one run, in float64 where zooms are deep. A tensor that no axis gives a rate stays.
        axes: of the rows and of the columns.
        resolution: runs along an axis.
        steps: of every run.
        tail: how many of the last losses are compared with the first, by their mean.
        ceiling: a run stops, and has diverged, where its loss is so many times the first, or not finite.
        batch: runs in one call.

    Raises:
        ValueError: a setting out of range, or losses of another shape.
    """
    _refuse_settings(
        start,
        axes,
        resolution=resolution,
        steps=steps,
        tail=tail,
        ceiling=ceiling,
        batch=batch,
    )
    rows, columns = (axis.divide_range(resolution) for axis in axes)
    points = torch.cartesian_prod(rows, columns)
    outcomes = []
    for chunk in points.split(batch):
        outcome = _train_batch(loss_of, start, axes, chunk, steps=steps, tail=tail, ceiling=ceiling)
        outcomes.append(outcome)
    converged, durations, taken = (torch.cat(column) for column in zip(*outcomes, strict=True))
    shape = (resolution, resolution)
    run_steps = int(taken.sum())
    return TrainabilityMap(
        axes,
        converged.reshape(shape),
        durations.reshape(shape),
        run_steps,
        run_steps / (steps * resolution**2),
    )


def zoom_trainability(
    loss_of: BatchedLoss,
    start: Sequence[Tensor],
    axes: tuple[HyperAxis, HyperAxis],
    *,
    zooms: int = 8,
    factor: float = 4.0,
    quantile: float = 0.9,
    resolution: int = 129,
    steps: int = 200,
) -> Iterator[TrainabilityMap]:
    """Yield the map of the whole range, and of so many zooms into its boundary; save each as it comes.

    Args:
        loss_of: as in `map_trainability`.
        start: parameters of one run, float64.
        axes: of the first map; those of a later map serve to go on from there.
        zooms: maps after the first.
        factor: by which both axes get shorter.
        quantile: of the boundary's density, where a zoom goes to: as in `TrainabilityMap.narrow_axes`.
        resolution: runs along an axis.
        steps: of every run.

    Raises:
        ValueError: as in `map_trainability`, or the boundary is lost.
    """
    for zoom in tqdm(range(zooms + 1), desc="zooms", leave=False):
        picture = map_trainability(loss_of, start, axes, resolution=resolution, steps=steps)
        yield picture
        if zoom < zooms:
            axes = picture.narrow_axes(factor, quantile)


def _refuse_settings(
    start: Sequence[Tensor],
    axes: tuple[HyperAxis, HyperAxis],
    *,
    resolution: int,
    steps: int,
    tail: int,
    ceiling: float,
    batch: int,
) -> None:
    """Raise an error for settings that cannot be meant."""
    for axis in axes:
        if not set(axis.tensors) <= set(range(len(start))):
            raise ValueError(f"an axis is for tensors {axis.tensors}, and there are {len(start)}: start at 0")
    if not any(axis.changes == "rate" for axis in axes):
        raise ValueError("no axis changes a rate, and nothing would train: HyperAxis(low, high, 'rate', tensors)")
    if resolution < 2 or batch < 1:
        raise ValueError(f"resolution must be 2 or more and batch 1 or more, got {resolution} and {batch}")
    if not 1 <= tail <= steps:
        raise ValueError(f"tail must be between 1 and steps={steps}, got {tail}")
    if not ceiling > 1:
        raise ValueError(f"ceiling must be above 1, got {ceiling}")


def _train_batch(
    loss_of: BatchedLoss,
    start: Sequence[Tensor],
    axes: tuple[HyperAxis, HyperAxis],
    points: Tensor,
    *,
    steps: int,
    tail: int,
    ceiling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which runs converged, how slow they were, and the steps that they took."""
    parameters, rates = begin_runs(start, axes, points)
    count = len(points)
    sums, inverses, tails = torch.zeros(3, count, dtype=torch.float64)
    taken_steps = torch.zeros(count, dtype=torch.int64)
    rows = torch.arange(count)
    first = torch.ones(count, dtype=torch.float64)
    for step in range(steps):
        losses, gradients = _measure_gradients(loss_of, parameters, step)
        if step == 0:
            first = _require_losses(losses)
        relative = losses / first
        is_running = relative <= ceiling  # false of what is not a number
        taken_steps[rows] += 1
        sums[rows] += relative
        inverses[rows] += torch.where(relative.isfinite(), 1 / relative, 0.0)
        if step >= steps - tail:
            tails[rows] += relative
        if not bool(is_running.all()):
            tails[rows[~is_running]] = float("inf")
            rows, first = rows[is_running], first[is_running]
            parameters, rates, gradients = (
                [tensor[is_running] for tensor in tensors] for tensors in (parameters, rates, gradients)
            )
        if not len(rows):
            break
        parameters = [
            tensor - rate * gradient for tensor, rate, gradient in zip(parameters, rates, gradients, strict=True)
        ]
    converged = tails < tail
    return converged, torch.where(converged, sums, inverses), taken_steps


def _measure_gradients(
    loss_of: BatchedLoss,
    parameters: Sequence[Tensor],
    step: int,
) -> tuple[Tensor, list[Tensor]]:
    """Return the losses of runs, float64, and their gradients."""
    leaves = [tensor.detach().requires_grad_() for tensor in parameters]
    with torch.enable_grad():
        losses = loss_of(leaves, step)
        if losses.shape != leaves[0].shape[:1]:
            shape = tuple(losses.shape)
            raise ValueError(
                f"loss_of must return a loss for each run, ({len(leaves[0])},), got {shape}: no mean over runs"
            )
        gradients = torch.autograd.grad(losses.sum(), leaves)
    return losses.detach().double(), list(gradients)


def _require_losses(losses: Tensor) -> Tensor:
    """Return the first losses of runs, which later ones are compared with."""
    if not bool((losses.isfinite() & (losses > 0)).all()):
        raise ValueError(
            "the first loss of a run must be finite and above zero: it is what later ones are compared with"
        )
    return losses
