"""Calibration: a model is run on its own data, and the inputs of its layers are summed up as Gram matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from forerun.optim.quantization.layer_matrices import read_inputs

MAX_POSITIONS = 8192  # of one call of one layer: evenly spaced ones where there are more, such as pixels of an image

Calibration = Callable[[nn.Module], Any] | Iterable[Any]


def collect_grams(model: nn.Module, calibration: Calibration, layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Run a model on calibration data, and return X^T X of the inputs of every layer that was called.

    Args:
        model: in evaluation mode; it is observed by hooks, which are taken off again, and is not changed.
        calibration: batches, or a function of the model that runs it.
        layers: to observe, by name.

    Returns:
        Matrices `(groups, columns, columns)`, in float32 at least.

    Raises:
        ValueError: a batch does not fit the model, there was none, or inputs of a layer are not finite.
    """
    grams: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(partial(_add_call, grams, name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            _run_model(model, calibration)
    finally:
        for hook in hooks:
            hook.remove()
    _refuse_nonfinite(grams)
    return grams


def _run_model(model: nn.Module, calibration: Calibration) -> None:
    if callable(calibration):
        calibration(model)
        return
    if isinstance(calibration, Tensor):
        calibration = (calibration,)
    count = 0
    for batch in calibration:
        try:
            _call_model(model, batch)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"batch {count} of the calibration data, {_describe_batch(batch)}, does not fit the model ({error}): "
                "give what the model is called with, or a function: quantize(model, lambda model: model(x, y))"
            ) from error
        count += 1
    if not count:
        raise ValueError("the calibration data hold no batch: give a list of inputs, such as quantize(model, [inputs])")


def _call_model(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, Sequence):
        model(*batch)
    else:
        model(batch)


def _describe_batch(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"of shape {tuple(batch.shape)}"
    return f"a {type(batch).__name__}"


def _add_call(grams: dict[str, Tensor], name: str, layer: nn.Module, *call: Any) -> None:
    """Add what a layer is called with, as its hook hands it over: positional inputs, and keywords."""
    inputs, keywords = call
    rows = read_inputs(layer, inputs[0] if inputs else keywords["input"])
    if rows.shape[1] > MAX_POSITIONS:
        places = torch.linspace(0, rows.shape[1] - 1, MAX_POSITIONS, device=rows.device).long()
        rows = rows[:, places]
    gram = rows.mT @ rows
    grams[name] = grams[name] + gram if name in grams else gram


def _refuse_nonfinite(grams: Mapping[str, Tensor]) -> None:
    for name, gram in grams.items():
        if not bool(torch.isfinite(gram).all()):
            raise ValueError(
                f"inputs of layer {name!r} are not finite in calibration: look at the data, or run the model in float32"
            )
