"""A quantised model: the model itself, its layers with what they lost, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from forerun.optim.quantization.quantized_files import save_quantized, weight_name
from forerun.optim.quantization.quantized_layer import QuantizedLayer


@dataclass(frozen=True)
class QuantizedModel:
    """A copy of a model whose layers hold quantised weights.

    The copy computes in the dtype and with the kernels of the original: it is as fast, not faster; the file is small.

    Attributes:
        model: the copy, in evaluation mode.
        layers: that were quantised, in the order of the model.
        skipped: names of layers that were not, and why.
    """

    model: nn.Module = field(repr=False)
    layers: tuple[QuantizedLayer, ...]
    skipped: Mapping[str, str]

    @property
    def float_bytes(self) -> int:
        """The bytes of the model's parameters and buffers as they are."""
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

    @property
    def packed_bytes(self) -> int:
        """The bytes of the tensors in the file."""
        replaced = {weight_name(layer.name) for layer in self.layers}
        others = [tensor for name, tensor in self.model.state_dict().items() if name not in replaced]
        packed = [tensor for layer in self.layers for tensor in (layer.packed, layer.grid.step, layer.grid.start)]
        return sum(tensor.nbytes for tensor in [*others, *packed])

    def save(self, path: str | Path) -> None:
        """Write packed weights and all else of the model as safetensors; `load_quantized(model, path)` reads them."""
        save_quantized(self.model, self.layers, path)
