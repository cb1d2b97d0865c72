"""Files of quantised models: safetensors with packed integers, the steps of their grids, and all else as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from forerun.optim.quantization.bit_packing import unpack_bits
from forerun.optim.quantization.quantized_layer import QuantizedLayer

FILE_FORMAT = "forerun quantised weights 1"
PACKED_PARTS = ("packed", "step", "start")

AnyModel = TypeVar("AnyModel", bound=nn.Module)


def weight_name(layer: str) -> str:
    """Return the name of a layer's weight; the layer may be the model itself, without a name."""
    return f"{layer}.weight" if layer else "weight"


def save_quantized(model: nn.Module, layers: Iterable[QuantizedLayer], path: str | Path) -> None:
    """Write a quantised model: what its layers hold, packed, and the other tensors of the model as they are."""
    tensors = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    facts: dict[str, dict[str, Any]] = {}
    for layer in layers:
        weight = weight_name(layer.name)
        tensors.pop(weight)
        parts = (layer.packed, layer.grid.step, layer.grid.start)
        tensors |= {f"{weight}.{suffix}": tensor for suffix, tensor in zip(PACKED_PARTS, parts, strict=True)}
        facts[layer.name] = {"bits": layer.grid.bits, "shape": list(layer.shape)}
    save_file(tensors, path, {"format": FILE_FORMAT, "layers": json.dumps(facts)})


def load_quantized(model: AnyModel, path: str | Path) -> AnyModel:
    """Fill a model, built as the one that was quantised, from the file of a `QuantizedModel`; return it.

    Raises:
        ValueError: the file is not of this kind, or of another model.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FILE_FORMAT:
            raise ValueError(f"{path} does not hold quantised weights: write it by quantize(...).save(path)")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, facts in json.loads(metadata["layers"]).items():
        weight = weight_name(name)
        parts = [tensors.pop(f"{weight}.{suffix}") for suffix in PACKED_PARTS]
        tensors[weight] = _unpack_weight(parts, facts)
    _refuse_another_model(model, tensors, path)
    model.load_state_dict(tensors)
    return model


def _unpack_weight(parts: list[Tensor], facts: Mapping[str, Any]) -> Tensor:
    packed, step, start = parts
    shape = torch.Size(facts["shape"])
    codes = unpack_bits(packed, facts["bits"], shape.numel()).to(step.dtype)
    groups, rows = (len(step), step.shape[1]) if step.numel() > 1 else (1, 1)
    return ((codes.reshape(groups, rows, -1) + start) * step).reshape(shape)


def _refuse_another_model(model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    differing = sorted(name for name in expected.keys() | stored.keys() if expected.get(name) != stored.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"{path} is of another model: {name!r} is {stored.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} here, and {len(differing)} names differ in all; build the model as it "
            "was when it was quantised"
        )
