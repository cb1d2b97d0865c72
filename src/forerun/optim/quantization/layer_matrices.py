"""Layers as matrices: the weights of a linear layer or a convolution, and the inputs that they are multiplied with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MatrixLayer = nn.Linear | nn.Conv1d | nn.Conv2d
MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def count_groups(layer: nn.Module) -> int:
    """Return the groups of a layer: those of a convolution, one for a linear layer."""
    return 1 if isinstance(layer, nn.Linear) else int(layer.groups)  # type: ignore[arg-type]


def read_weights(layer: nn.Module) -> Tensor:
    """Return the weights as matrices `(groups, rows, columns)`, in float32 at least; rows are output channels."""
    weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    matrices: Tensor = weight.reshape(count_groups(layer), weight.shape[0] // count_groups(layer), -1)
    return matrices.to(torch.promote_types(weight.dtype, torch.float32))


def read_inputs(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the weights are multiplied with, `(groups, positions, columns)`: for a convolution its patches."""
    inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    if isinstance(layer, nn.Linear):
        return inputs.reshape(1, -1, inputs.shape[-1])
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    kernel, stride, dilation = tuple(layer.kernel_size), tuple(layer.stride), tuple(layer.dilation)
    dims = len(kernel)
    batched = inputs if inputs.dim() == dims + 2 else inputs[None]
    padded = _pad_inputs(layer, batched)
    if dims == 1:  # a row of pixels
        padded, kernel, stride, dilation = padded[:, :, None], (1, *kernel), (1, *stride), (1, *dilation)
    patches: Tensor = functional.unfold(padded, kernel, dilation=dilation, stride=stride)
    patches = patches.unflatten(1, (layer.groups, -1))
    return patches.permute(1, 0, 3, 2).flatten(1, 2)


def _pad_inputs(layer: nn.Conv1d | nn.Conv2d, inputs: Tensor) -> Tensor:
    """Pad as the layer does: by numbers, or by the words "same" and "valid"; with zeros, or in another mode."""
    if layer.padding == "valid":
        return inputs
    if isinstance(layer.padding, str):
        totals = [width * (size - 1) for width, size in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(int(side), int(side)) for side in layer.padding]
    widths = [width for pair in reversed(sides) for width in pair]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, widths, mode=mode)
