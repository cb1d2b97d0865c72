"""Sequences: what follows step by step, value by value, or layer by layer, many at a time."""

from typing import TYPE_CHECKING, Any

from forerun.sequence.autoregressive.choice import Choice, Greedy, Gumbel
from forerun.sequence.autoregressive.images import Drawn, sample
from forerun.sequence.autoregressive.made import Made
from forerun.sequence.autoregressive.pixelcnn import PixelCNN
from forerun.sequence.causal import Filler, Filling
from forerun.sequence.guess import Continuation, Fill, Lookup, Reguess, Repeat
from forerun.sequence.layers import Features, Layers, Stacked, feedforward
from forerun.sequence.recurrent.modules import RNN
from forerun.sequence.recurrent.ode import DOPRI5, EULER, RK4, Tableau, odeint
from forerun.sequence.recurrent.scan import Scanned, scan

if TYPE_CHECKING:
    from forerun.sequence.autoregressive.generate import Generated, generate

__all__ = [
    "DOPRI5",
    "EULER",
    "RK4",
    "RNN",
    "Choice",
    "Continuation",
    "Drawn",
    "Features",
    "Fill",
    "Filler",
    "Filling",
    "Generated",
    "Greedy",
    "Gumbel",
    "Layers",
    "Lookup",
    "Made",
    "PixelCNN",
    "Reguess",
    "Repeat",
    "Scanned",
    "Stacked",
    "Tableau",
    "feedforward",
    "generate",
    "odeint",
    "sample",
    "scan",
]


def __getattr__(name: str) -> Any:
    """`generate` imports transformers, and does so only when it is asked for."""
    if name in {"Generated", "generate"}:
        from forerun.sequence.autoregressive import generate as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
