"""feedforward: the layers of a network as nonlinear equations, solved together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from forerun.engine.methods import Picard
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.engine.solution import Solution, Status
from forerun.engine.solve import solve
from forerun.engine.windows import Full
from forerun.engine.witness import Witness, describe_difference
from forerun.sequence.causal import CausalFunction, CausalProcess
from forerun.sequence.eval_mode import check_eval_mode
from forerun.sequence.guess import Fill
from forerun.sequence.layers.gradient import Layer, carry_features, run_ordinary_pass
from forerun.sequence.layers.layers import LayerFunction, StackedLayers
from forerun.sequence.recurrent.obstacles import report_fallback

FEEDFORWARD_DEFAULTS = SolveOptions(
    method=Picard(),
    window=Full(),
    tolerance=1e-4,
    check=False,
    guess=Fill(),
)


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

    The features are differentiable in what enters and in the weights: the backward pass takes the ordinary pass. The
    layers of `StackedLayers` are themselves called on some steps, and held against their product.

    Raises:
        ValueError: no layer, a layer in training mode or of another growth, features without a batch axis.
        TypeError: `growth` is missing.
    """
    options = SolveOptions.gather(options, keywords).over(FEEDFORWARD_DEFAULTS)
    function = layers
    if not isinstance(function, CausalFunction):
        function = _adapt_layers(function, entry, growth)
    if isinstance(function, StackedLayers):
        function.copy_weights()
    start = _pad_entry(entry, function)
    solution = solve(CausalProcess(function), start.detach(), options=options, leave_out=False)
    features = solution.state.unflatten(-1, (-1, *entry.shape[2:]))
    if isinstance(function, StackedLayers):
        return _witness_layers(function, entry, features, solution=solution, options=options)
    if isinstance(function, LayerFunction):
        features = carry_features(features, function.layers, entry)
    return FeatureSolution(**vars(solution), features=features)


def _witness_layers(
    function: StackedLayers,
    entry: Tensor,
    features: Tensor,
    *,
    solution: Solution,
    options: SolveOptions,
) -> FeatureSolution:
    """Return the features, after some layers themselves were called beside their product; or the ordinary pass."""
    settings = options.settled()
    fields = vars(solution)
    layers = function.layers
    if settings.witness is None:
        fields = {**fields, "notes": (*solution.notes, "The layers were not called as witnesses (witness=False).")}
        return FeatureSolution(**fields, features=carry_features(features, layers, entry))
    steps = settings.witness.choose_steps(solution.step)
    difference = _compare_layers(function, features, steps, settings.witness)
    if difference is None:
        fields = {**fields, "witnessed": len(steps)}
        return FeatureSolution(**fields, features=carry_features(features, layers, entry))
    note = f"The ordinary pass was taken, as a layer gives something else than its product: {difference}."
    report_fallback(note, strict=settings.strict)
    ordinary = run_ordinary_pass(layers, entry)
    fields = {**fields, "state": ordinary.detach(), "status": Status.SEQUENTIAL, "notes": (note,)}
    return FeatureSolution(**fields, features=ordinary)


@torch.no_grad()
def _compare_layers(
    function: StackedLayers,
    features: Tensor,
    steps: Sequence[int],
    witness: Witness,
) -> str | None:
    """Say how the layers of some steps differ from their product; None where they do not."""
    for step in steps:
        known = features[:, : int(function.bounds[step])]
        product = function.compute_slots(torch.tensor([step]), features)
        difference = describe_difference(function.layers[step](known), product, roundings=witness.roundings)
        if difference is not None:
            return f"at layer {step} {difference}"
    return None


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
