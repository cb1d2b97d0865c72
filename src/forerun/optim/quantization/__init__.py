"""Quantisation after training: the weights of a model as small integers, chosen by coordinate descent on its own data.

The weights of a layer are integers times a step; the integers are chosen so that the layer's outputs on calibration
data move least. COMQ (Zhang et al., arXiv 2403.07134); rivals are round to nearest and GPTQ (arXiv 2210.17323).
"""

from forerun.optim.quantization.coordinate_descent import CoordinateDescent
from forerun.optim.quantization.gptq import GPTQ
from forerun.optim.quantization.integer_grid import IntegerGrid
from forerun.optim.quantization.model_quantization import quantize
from forerun.optim.quantization.quantized_files import load_quantized
from forerun.optim.quantization.quantized_layer import QuantizedLayer
from forerun.optim.quantization.quantized_model import QuantizedModel
from forerun.optim.quantization.rounding import Rounding, RoundToNearest

__all__ = [
    "GPTQ",
    "CoordinateDescent",
    "IntegerGrid",
    "QuantizedLayer",
    "QuantizedModel",
    "RoundToNearest",
    "Rounding",
    "load_quantized",
    "quantize",
]
