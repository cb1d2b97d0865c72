"""Relaxation: solvers over a stream of linear systems, whose parameter is learnt from iteration counts alone."""

from forerun.limits.relaxation.learners import (
    ChebyshevBandit,
    FixedSetting,
    ParameterLearner,
    PricedChoice,
    TsallisInf,
    normalise_chances,
)
from forerun.limits.relaxation.solvers import (
    RelaxedSolver,
    Sor,
    SorMap,
    SsorCg,
    SystemSolution,
    count_sor_sweeps,
)
from forerun.limits.relaxation.stream import SOR_OMEGAS, Relaxed, SettingStream, replay_costs
from forerun.limits.relaxation.systems import HeatStream, build_laplacian, draw_shifts

__all__ = [
    "SOR_OMEGAS",
    "ChebyshevBandit",
    "FixedSetting",
    "HeatStream",
    "ParameterLearner",
    "PricedChoice",
    "Relaxed",
    "RelaxedSolver",
    "SettingStream",
    "Sor",
    "SorMap",
    "SsorCg",
    "SystemSolution",
    "TsallisInf",
    "build_laplacian",
    "count_sor_sweeps",
    "draw_shifts",
    "normalise_chances",
    "replay_costs",
]
