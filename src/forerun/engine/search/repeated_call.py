"""The map called twice at one state, to see whether it gives the same value."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.search.evaluated import EvaluatedPoints
from forerun.engine.search.evaluation import CountedMap
from forerun.engine.search.limit import largest_entry
from forerun.engine.tolerance import largest_element

REPEAT_ROUNDINGS = 1e4  # of the largest element, by which two calls may differ

UNREPEATABLE = (
    "the map gave another value for the same state, by {:.2g}, where its residual was {:.2g}: it draws random numbers "
    "or changes from call to call. Write module.eval(), draw the noise before and let the map use it, or, where the "
    "noise is meant, pass repeatable=False"
)


def refuse_other_value(evaluated: EvaluatedPoints, tools: CountedMap, threshold: float) -> None:
    """Call the map a second time, and refuse one that draws random numbers.

    Raises:
        ValueError: it gave another value, by more than rounding and than the threshold.
    """
    again = tools.evaluate(evaluated.points)
    is_finite = (again.isfinite() & evaluated.values.isfinite()).all(-1)
    change: Tensor = torch.where(is_finite.unsqueeze(-1), again - evaluated.values, 0.0)
    sizes = tools.measure(change, evaluated.points)
    largest = largest_element(evaluated.values.nan_to_num(0.0, 0.0, 0.0))
    is_rounding = largest_element(change) <= REPEAT_ROUNDINGS * tools.rows.epsilon * largest
    is_changed = ~is_rounding & ~(sizes <= threshold)
    if bool(is_changed.any()):
        raise ValueError(UNREPEATABLE.format(largest_entry(sizes), largest_entry(evaluated.sizes)))
