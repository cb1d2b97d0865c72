"""BoundedWeight: linear layers whose operator norm is kept below a bound, so that networks of them contract."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class BoundedWeight(nn.Module):
    """A weight divided down to a norm of at most `bound`; one that is smaller stays as it is.

    A matrix is bounded in its spectral norm. The operator of a convolution is bounded by the spectral norm of the
    matrix `(out, in * kernel)` times the root of the number of kernel elements (Tsuzuku, Sato and Sugiyama, NeurIPS
    2018, with padding by zeros). The norm is computed in every call, not followed by power iteration, so that the
    same input always gives the same value.

    Args:
        bound: of the norm, positive.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        if not bound > 0:
            raise ValueError(f"BoundedWeight(bound={bound}) leaves nothing of a weight; pass one such as 0.9")
        self.bound = bound

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight `(out, in, *kernel)` with the bound kept."""
        size = torch.linalg.matrix_norm(weight.flatten(1), 2) * prod(weight.shape[2:]) ** 0.5
        bounded: Tensor = weight * (self.bound / size.clamp_min(self.bound))
        return bounded


def bound_weights(module: nn.Module, bound: float) -> nn.Module:
    """Bound the norm of every matrix and kernel called `weight` in a module, in place, and return it.

    Layers one after another, with activations of slope at most 1 between them, then have a Lipschitz constant of at
    most `bound` to the power of their number, in the Euclidean norm. Sums, as in residual networks, have none of that.

    Args:
        module: any; torch-geometric's layers too, whose propagation over a symmetrically normalised graph has norm 1.
        bound: of each norm.

    Raises:
        ValueError: the module has no such weight, or a kernel that is transposed.
    """
    owners = []
    for name, layer in module.named_modules():
        weight = layer._parameters.get("weight")
        if weight is None or weight.dim() < 2:
            continue
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            raise ValueError(
                f"{name or type(layer).__name__} is a transposed convolution, whose norm is not bounded here"
            )
        owners.append(layer)
    if not owners:
        raise ValueError(
            f"{type(module).__name__} has no matrix called `weight` to bound; leave lipschitz out, or bound its "
            "parameters yourself: torch.nn.utils.parametrize.register_parametrization(layer, name, BoundedWeight(0.9))"
        )
    for layer in owners:
        parametrize.register_parametrization(layer, "weight", BoundedWeight(bound))
    return module
