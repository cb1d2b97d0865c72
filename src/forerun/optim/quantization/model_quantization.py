"""quantize: the layers of a trained model, each with integer weights that keep its outputs on calibration data."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from forerun.optim.quantization.calibration_inputs import Calibration, collect_grams
from forerun.optim.quantization.coordinate_descent import CoordinateDescent
from forerun.optim.quantization.gptq import GPTQ
from forerun.optim.quantization.integer_grid import IntegerGrid
from forerun.optim.quantization.layer_matrices import MATRIX_LAYERS, read_weights
from forerun.optim.quantization.quantized_layer import QuantizedLayer
from forerun.optim.quantization.quantized_model import QuantizedModel
from forerun.optim.quantization.rounding import Rounding, RoundToNearest, relative_error

BIT_RANGE = range(2, 9)
OTHER_WEIGHTED = (nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear)


def quantize(
    model: nn.Module,
    calibration: Calibration,
    bits: int = 4,
    *,
    rounding: Rounding | None = None,
    per_row: bool = True,
    skip: Iterable[str] = (),
) -> QuantizedModel:
    """Quantise the weights of linear layers and convolutions after training, without gradients.

    Every layer's integers are chosen to keep its outputs on the inputs that it has in calibration:
    min |X (w - step * q)|^2. Layers do not depend on each other; biases, norms and embeddings stay as they are.

    Args:
        model: any module in evaluation mode. It is run and copied, not changed.
        calibration: batches, each what the model is called with (a tensor, a tuple, or a dict of keywords); or a
            function that is handed the model and runs it, such as `lambda model: pipe(prompts)`.
        bits: of a weight, 2 to 8.
        rounding: how integers are chosen; None for `CoordinateDescent(first=GPTQ())`, the best that was
            measured. `CoordinateDescent()` is COMQ as published; `GPTQ()` and `RoundToNearest()` are its rivals.
        per_row: a step for every output channel; False for one for the whole layer.
        skip: names of layers to leave as they are; `*` stands for anything: `("head", "*.conv_in")`.

    Returns:
        A quantised copy of the model, with each layer's error.

    Raises:
        TypeError: the model is not a module.
        ValueError: bits, calibration data or names that do not fit, a model in training mode, weights that are not
            finite, or no layer to quantise.
    """
    _refuse_bad_call(model, bits)
    layers, skipped = _choose_layers(model, tuple(skip))
    grams = collect_grams(model, calibration, layers)
    skipped |= dict.fromkeys(layers.keys() - grams.keys(), "was not called on the calibration data")
    rule = CoordinateDescent(first=GPTQ()) if rounding is None else rounding
    quantized = [
        quantize_layer(
            name,
            layer,
            grams[name],
            bits,
            rounding=rule,
            per_row=per_row,
        )
        for name, layer in layers.items()
        if name in grams
    ]
    if not quantized:
        raise ValueError(f"no layer to quantise was called on the calibration data; skipped: {skipped}")
    return QuantizedModel(_copy_with(model, quantized), tuple(quantized), skipped)


@torch.no_grad()
def quantize_layer(
    name: str, layer: nn.Module, gram: Tensor, bits: int, *, rounding: Rounding, per_row: bool
) -> QuantizedLayer:
    """Quantise one layer on the Gram matrices of its inputs."""
    weights = read_weights(layer)
    if not bool(torch.isfinite(weights).all()):
        raise ValueError(f"weights of layer {name!r} are not finite: the model was broken before it was quantised")
    gram = gram.to(weights)
    grid = IntegerGrid.spanning(weights, bits, per_row=per_row)
    nearest, _ = RoundToNearest().choose_integers(weights, gram, grid)
    integers, chosen = rounding.choose_integers(weights, gram, grid)
    return QuantizedLayer(
        name=name,
        integers=integers,
        grid=chosen,
        shape=layer.weight.shape,  # type: ignore[arg-type]
        error=relative_error(weights, integers * chosen.step, gram),
        nearest_error=relative_error(weights, nearest * grid.step, gram),
    )


def _refuse_bad_call(model: nn.Module, bits: int) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: quantize(pipe.unet, ...)")
    if not isinstance(bits, int) or bits not in BIT_RANGE:
        raise ValueError(f"weights are quantised to 2 to 8 bits, got bits={bits!r}: quantize(model, data, bits=4)")
    if model.training:
        raise ValueError("the model is in training mode, where dropout and batch norms act: call model.eval() first")


def _choose_layers(model: nn.Module, patterns: tuple[str, ...]) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the layers to quantise, and reasons why others stay as they are."""
    names = dict(model.named_modules())
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(f"skip={pattern!r} matches no layer of the model; its names are {list(names)[1:6]}, ...")
    owners = Counter(id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False))
    layers: dict[str, nn.Module] = {}
    skipped: dict[str, str] = {}
    for name, layer in names.items():
        reason = _reason_to_skip(name, layer, patterns, owners=owners)
        if reason:
            skipped[name] = reason
        elif isinstance(layer, MATRIX_LAYERS):
            layers[name] = layer
    return layers, skipped


def _reason_to_skip(
    name: str,
    layer: nn.Module,
    patterns: tuple[str, ...],
    *,
    owners: Counter[int],
) -> str:
    """Return why a layer is not quantised; empty where it is, or where it has no matrix of weights."""
    if isinstance(layer, OTHER_WEIGHTED):
        return f"a {type(layer).__name__} is not supported"
    if not isinstance(layer, MATRIX_LAYERS):
        return ""
    weight = layer._parameters.get("weight")
    if any(fnmatch(name, pattern) for pattern in patterns):
        return "left out by skip"
    if weight is None:
        return "its weight is computed from others: remove parametrizations first"
    if owners[id(weight)] > 1:
        return "its weight is shared with another layer"
    return "" if weight.is_floating_point() else f"its weight is {weight.dtype}"


@torch.no_grad()
def _copy_with(model: nn.Module, layers: Iterable[QuantizedLayer]) -> nn.Module:
    """Return a copy of the model that holds the quantised weights."""
    copied = copy.deepcopy(model)
    for layer in layers:
        copied.get_submodule(layer.name).weight.copy_(layer.weight)  # type: ignore[operator]
    return copied
