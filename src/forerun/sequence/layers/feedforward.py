"""feedforward: the layers of a network as nonlinear equations, solved together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forerun.engine.backends import Backend, Local
from forerun.engine.guesses import Guess
from forerun.engine.methods import Method, Picard
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import Absolute, Tolerance
from forerun.engine.windows import Full, Window
from forerun.sequence.causal import CausalFunction, CausalProcess
from forerun.sequence.eval_mode import check_at_rest
from forerun.sequence.guess import Fill
from forerun.sequence.layers.layers import LayerFunction


@dataclass(frozen=True)
class FeatureSolution:
    """All features of a network, and the run that found them.

    Attributes:
        features: `(N, C, *rest)`, what entered first and then those of each layer.
        solution: rounds are calls of all layers in flight together; evaluations are layers.
    """

    features: Tensor
    solution: Solution


def feedforward(
    layers: Sequence[Callable[[Tensor], Tensor]] | CausalFunction,
    entry: Tensor,
    *,
    growth: int | Sequence[int] | None = None,
    method: Method = Picard(),
    window: Window = Full(),
    tolerance: Tolerance = Absolute(1e-4),
    check: bool = False,
    guess: Guess = Fill(),
    backend: Backend = Local(),
) -> FeatureSolution:
    """All features of a network whose layers read every feature before them (DenseNet), many layers at once.

        v_l = f_l(v_0, .., v_{l-1}),   l = 1 .. L

    is solved for all `v` together: `Picard()` is the Jacobi iteration of Song et al. (arXiv 2002.03629),
    `GaussSeidel(8, Picard())` their GS-Jacobi, `PicardGaussSeidel(8)` their Jacobi-GS, `Sequential()` the ordinary
    pass. It ends when no layer in flight moves by more than the tolerance: the answer at any time, taken early
    where it has settled. `Absolute(0.0)` gives the features of the ordinary pass, `check=True` an estimate of the
    deviation where they are not.

    Args:
        layers: each takes `(N, C, *rest)`, all features before it, and returns `(N, growth, *rest)`; or a
            `CausalFunction` such as `StackedLayers`, which computes all layers of a round in one product.
        entry: `(N, C, *rest)`, what enters the network.
        growth: channels that a layer adds, one number for all or one each; left out for a `CausalFunction`.
        method: how a round becomes the next guess.
        window: how many layers are in flight.
        tolerance: how far a feature may still move.
        check: estimate the deviation from the ordinary pass.
        guess: what stands for a feature that was never computed.
        backend: where layers are computed.

    Raises:
        ValueError: no layer, a layer in training mode or of another growth, features without a batch axis.
        TypeError: `growth` is missing.
    """
    filler = layers if isinstance(layers, CausalFunction) else _layers(layers, entry, growth)
    flat = entry.flatten(1)
    if flat.shape[1] != int(filler.bounds[0]):
        raise ValueError(
            f"{list(entry.shape)} enters a network that begins with {int(filler.bounds[0])} features; pass "
            f"(N, {int(filler.bounds[0])})"
        )
    state = torch.nn.functional.pad(flat, (0, int(filler.bounds[-1] - filler.bounds[0])))
    solution = solve(
        CausalProcess(filler), state, method=method, window=window, tolerance=tolerance, check=check, guess=guess,
        backend=backend,
    )  # fmt: skip
    return FeatureSolution(solution.state.unflatten(-1, (-1, *entry.shape[2:])), solution)


def _layers(
    layers: Sequence[Callable[[Tensor], Tensor]], entry: Tensor, growth: int | Sequence[int] | None
) -> LayerFunction:
    if not len(layers):
        raise ValueError("there is no layer to evaluate; pass layers=[...] of at least one")
    if growth is None:
        raise TypeError("feedforward must know how many channels a layer adds; pass growth=12, or one number a layer")
    if entry.dim() < 2:
        raise ValueError(f"the features {list(entry.shape)} have no batch axis; pass (N, C, ...): entry.unsqueeze(0)")
    sizes = [growth] * len(layers) if isinstance(growth, int) else list(growth)
    if len(sizes) != len(layers) or min(sizes) < 1:
        raise ValueError(f"growth={growth!r} for {len(layers)} layers; pass one number of 1 or more for each")
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.Module):
            check_at_rest(layer, f"layers[{place}]")
    return LayerFunction(layers, sizes, entry.shape[1:])
