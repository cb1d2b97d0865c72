"""Sequences: what follows step by step, value by value, or layer by layer, many at a time."""

from typing import TYPE_CHECKING, Any

from forerun.sequence.autoregressive.choice import Greedy, Gumbel, TokenChoice
from forerun.sequence.autoregressive.images import ImageSolution, sample
from forerun.sequence.autoregressive.made import Made
from forerun.sequence.autoregressive.pixelcnn import PixelCNN
from forerun.sequence.causal import CausalFunction, CausalProcess
from forerun.sequence.guess import Continuation, Fill, Lookup, Reguess, Repeat
from forerun.sequence.layers import FeatureSolution, LayerFunction, StackedLayers, feedforward
from forerun.sequence.recurrent.modules import RNN
from forerun.sequence.recurrent.ode import DOPRI5, EULER, RK4, ButcherTableau, odeint
from forerun.sequence.recurrent.scan import ScanSolution, scan

if TYPE_CHECKING:
    from forerun.sequence.autoregressive.generate import TextSolution, generate

__all__ = [
    "DOPRI5",
    "EULER",
    "RK4",
    "RNN",
    "ButcherTableau",
    "CausalFunction",
    "CausalProcess",
    "Continuation",
    "FeatureSolution",
    "Fill",
    "Greedy",
    "Gumbel",
    "ImageSolution",
    "LayerFunction",
    "Lookup",
    "Made",
    "PixelCNN",
    "Reguess",
    "Repeat",
    "ScanSolution",
    "StackedLayers",
    "TextSolution",
    "TokenChoice",
    "feedforward",
    "generate",
    "odeint",
    "sample",
    "scan",
]


def __getattr__(name: str) -> Any:
    """`generate` imports transformers, and does so only when it is asked for."""
    if name in {"TextSolution", "generate"}:
        from forerun.sequence.autoregressive import generate as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
