"""feedforward: the layers of a network as nonlinear equations, solved together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from forerun.engine.methods import Picard
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.windows import Full
from forerun.sequence.causal import CausalFunction, CausalProcess
from forerun.sequence.eval_mode import check_eval_mode
from forerun.sequence.guess import Fill
from forerun.sequence.layers.layers import LayerFunction

FEEDFORWARD_DEFAULTS = SolveOptions(
    method=Picard(),
    window=Full(),
    tolerance=1e-4,
    check=False,
    guess=Fill(),
)

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class FeatureSolution(Solution):
    """All features of a network, and the run that found them.

    Rounds are calls of all layers in flight together; evaluations are layers.

    Attributes:
        features: `(N, C, *rest)`, what entered first and then those of each layer.
    """

    features: Tensor

    @property
    def value(self) -> Tensor:
        """The features."""
        return self.features


def feedforward(
    layers: Sequence[Layer] | CausalFunction,
    entry: Tensor,
    *,
    growth: int | Sequence[int] | None = None,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> FeatureSolution:
    """Return all features of a network whose layers read every feature before them (DenseNet), many layers at once.

        v_l = f_l(v_0, .., v_{l-1}),   l = 1 .. L

    is solved for all `v` together: `Picard()` is the Jacobi iteration of Song et al. (arXiv 2002.03629),
    `GaussSeidel(8, Picard())` their GS-Jacobi, `PicardGaussSeidel(8)` their Jacobi-GS, `Sequential()` the ordinary
    pass. It ends when no layer in flight moves by more than the tolerance: the answer at any time, taken early
    where it has settled. `tolerance=0.0` gives the features of the ordinary pass, `check=True` an estimate of the
    deviation where they are not.

    Args:
        layers: each takes `(N, C, *rest)`, all features before it, and returns `(N, growth, *rest)`; or a
            `CausalFunction` such as `StackedLayers`, which computes all layers of a round in one product.
        entry: `(N, C, *rest)`, what enters the network.
        growth: channels that a layer adds, one number for all or one each; left out for a `CausalFunction`.
        options: how to solve, as one object.
        keywords: the options one by one, as for `forerun.solve`; by default `method=Picard()`, `window=Full()`,
            `tolerance=1e-4`, `check=False` and `guess=Fill()`.

    Raises:
        ValueError: no layer, a layer in training mode or of another growth, features without a batch axis.
        TypeError: `growth` is missing.
    """
    options = SolveOptions.gather(options, keywords).over(FEEDFORWARD_DEFAULTS)
    function = layers
    if not isinstance(function, CausalFunction):
        function = _adapt_layers(function, entry, growth)
    start = _pad_entry(entry, function)
    solution = solve(CausalProcess(function), start, options=options)
    features = solution.state.unflatten(-1, (-1, *entry.shape[2:]))
    return FeatureSolution(**vars(solution), features=features)


def _pad_entry(entry: Tensor, function: CausalFunction) -> Tensor:
    """Return the features `(N, D)`: those that enter, and zeros for those of the layers."""
    flat = entry.flatten(1)
    expected = int(function.bounds[0])
    if flat.shape[1] != expected:
        raise ValueError(
            f"{list(entry.shape)} enters a network that begins with {expected} features; pass (N, {expected})"
        )
    missing = int(function.bounds[-1]) - expected
    return torch.nn.functional.pad(flat, (0, missing))


def _adapt_layers(
    layers: Sequence[Layer],
    entry: Tensor,
    growth: int | Sequence[int] | None,
) -> LayerFunction:
    """Return the layers as a `CausalFunction`; refuse what cannot be evaluated."""
    if not len(layers):
        raise ValueError("there is no layer to evaluate; pass layers=[...] of at least one")
    if growth is None:
        raise TypeError("feedforward must know how many channels a layer adds; pass growth=12, or one number a layer")
    if entry.dim() < 2:
        raise ValueError(f"the features {list(entry.shape)} have no batch axis; pass (N, C, ...): entry.unsqueeze(0)")
    sizes = growth
    if isinstance(sizes, int):
        sizes = [sizes] * len(layers)
    if len(sizes) != len(layers) or min(sizes) < 1:
        raise ValueError(f"growth={growth!r} for {len(layers)} layers; pass one number of 1 or more for each")
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Module):
            check_eval_mode(layer, f"layers[{index}]")
    return LayerFunction(layers, sizes, entry.shape[1:])
