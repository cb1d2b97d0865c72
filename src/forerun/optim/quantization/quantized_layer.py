"""The weights of one layer, quantised: integers, their grid, and what the outputs lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from forerun.optim.quantization.bit_packing import pack_bits
from forerun.optim.quantization.integer_grid import IntegerGrid


@dataclass(frozen=True)
class QuantizedLayer:
    """The weights of one layer as integers of a grid.

    Attributes:
        name: of the layer in the model.
        integers: `(groups, rows, columns)`, as floats.
        grid: on which they are meant.
        shape: of the weight in the model.
        error: |X (w - v)| / |X w|: how far outputs on calibration data moved.
        nearest_error: the same for round to nearest.
    """

    name: str
    integers: Tensor = field(repr=False)
    grid: IntegerGrid = field(repr=False)
    shape: torch.Size
    error: float
    nearest_error: float

    @property
    def weight(self) -> Tensor:
        """The weight that the integers stand for, in the shape of the model's."""
        return (self.integers * self.grid.step).reshape(self.shape)

    @property
    def packed(self) -> Tensor:
        """The integers, counted from the start of the grid, as bytes without a gap."""
        return pack_bits(self.integers - self.grid.start, self.grid.bits)
