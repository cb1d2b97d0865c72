"""A process in rows: packing, affine maps and the sweep."""

from forerun.engine.rows.affine_maps import AffineCache, AffineMaps
from forerun.engine.rows.interpolation import interpolate_rows
from forerun.engine.rows.linear_outputs import LinearOutputs, apply_slopes
from forerun.engine.rows.problem import Problem
from forerun.engine.rows.state_sequences import (
    JoinedStates,
    RowStates,
    copy_states,
    stack_states,
)
from forerun.engine.rows.sweep import SweepResult, advance_outputs, sweep_window

__all__ = [
    "AffineCache",
    "AffineMaps",
    "JoinedStates",
    "LinearOutputs",
    "Problem",
    "RowStates",
    "SweepResult",
    "advance_outputs",
    "apply_slopes",
    "copy_states",
    "interpolate_rows",
    "stack_states",
    "sweep_window",
]
