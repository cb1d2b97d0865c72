"""check_map: whether a map keeps its contract."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.map import BatchMap, Map
from forerun.engine.map_rows import MapRows
from forerun.engine.numerics.tree import Tree, tree_map
from forerun.engine.testing.agreement import is_close, require

SAME_VALUE = 1e-5  # relative, to which two ways to the same value must agree
DIFFERENCE_STEP = 1e-4  # of the state, for derivatives by differences
SAME_DERIVATIVE = 1e-2


@torch.no_grad()
def check_map(user_map: Map, state: Tree) -> None:
    """Check that a map keeps its contract: a pure function of states, with what it says besides being true.

    The same state gives the same value, and is not changed; problems of a batch do not look at each other; a selection
    of problems has their values; a projection leaves projected states as they are; a merit does not rise under the
    map; a linearisation is the derivative.

    Args:
        user_map: the map.
        state: a state that it is defined at; float64 where its linearisation is to be checked.

    Raises:
        ContractBroken: it does not; the message says which part.
        ValueError: it gives another structure, shape, dtype or device than its argument has, or changes it.
    """
    rows = MapRows(user_map, state)
    points = rows.first_points
    values = evaluate_rows(rows, points)
    again = evaluate_rows(rows, points)
    require(
        is_close(values, again, SAME_VALUE),
        "the same state gave another value; draw noise before, and write module.eval() for dropout",
    )
    _check_batch(rows, points, values)
    _check_selection(rows, state, values)
    _check_projection(rows, points)
    _check_merit(rows, points, values)
    _check_linearisation(rows, points, values)


def evaluate_rows(rows: MapRows, points: Tensor) -> Tensor:
    """Return the values of all problems, `(B, D)`, by one call of the map."""
    return rows.call_map(rows.map, points, rows.batch)


def _check_batch(rows: MapRows, points: Tensor, values: Tensor) -> None:
    """Check that a problem's value does not follow the states of the others."""
    if rows.count < 2:
        return
    moved = points.clone()
    moved[0] = points[1]
    require(
        is_close(evaluate_rows(rows, moved)[1:], values[1:], SAME_VALUE),
        "the value of a problem followed the state of another one; treat every problem of the batch by itself, or set "
        "batch_dims = 0",
    )


def _check_selection(rows: MapRows, state: Tree, values: Tensor) -> None:
    """Check that some problems of a batch have the values that they have among all."""
    if not isinstance(rows.map, BatchMap):
        return
    problems = torch.arange(0, rows.count, 2, device=rows.device)
    selected = rows.map.select(problems)
    fewer = MapRows(Map.from_function(selected.evaluate, batch_dims=1), tree_map(lambda leaf: leaf[problems], state))
    require(
        is_close(evaluate_rows(fewer, fewer.first_points), values[problems], SAME_VALUE),
        "select(problems) gave a map with other values than those problems have; select whatever belongs to each of "
        "them: data[problems]",
    )


def _check_projection(rows: MapRows, points: Tensor) -> None:
    """Check that what is projected stays where it is."""
    problems = torch.arange(rows.count, device=rows.device)
    projected = rows.project(points, problems)
    require(
        is_close(rows.project(projected, problems), projected, SAME_VALUE),
        "projecting a projected state moved it; let project give the nearest state at which the map is defined",
    )


def _check_merit(rows: MapRows, points: Tensor, values: Tensor) -> None:
    """Check that the merit, where there is one, does not rise under the map."""
    if not rows.has_merit():
        return
    problems = torch.arange(rows.count, device=rows.device)
    before, after = rows.measure_merit(points, problems), rows.measure_merit(values, problems)
    require(
        bool((after <= before + SAME_VALUE * before.abs()).all()),
        "the merit rose under the map; give a number that falls towards the limit, or leave it out",
    )


def _check_linearisation(rows: MapRows, points: Tensor, values: Tensor) -> None:
    """Check that a derivative of the map's own is that of its values, by differences."""
    if rows.map.linearise(rows.unpack(points)) is None:
        return
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(points.shape, generator=generator, dtype=points.dtype).to(points.device)
    step = DIFFERENCE_STEP * max(float(points.abs().max()), 1.0)
    differences = (evaluate_rows(rows, points + step * directions) - values) / step
    pairs = torch.cat([points, directions], -1)
    if rows.can_select:
        derivatives = rows.differentiate(torch.arange(rows.count, device=rows.device), pairs)
    else:
        derivatives = rows.differentiate(torch.zeros(1, dtype=torch.int64, device=rows.device), pairs.unsqueeze(0))[0]
    require(
        is_close(derivatives, differences, SAME_DERIVATIVE),
        "linearise gave something else than the differences of values; give the derivative of evaluate along a "
        "direction, or leave it out, and torch finds it",
    )
