"""Modules that answer the same question twice differently are refused before a run."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def check_eval_mode(module: nn.Module, name: str) -> None:
    """Refuse a module with dropout or batch norm in training mode.

    Raises:
        ValueError: it has one; the message has the line to type.
    """
    for path, layer in module.named_modules():
        if layer.training and isinstance(layer, _DropoutNd | _BatchNorm):
            raise ValueError(
                f"{name} is in training mode, and its {type(layer).__name__} ({path or 'itself'}) would answer twice "
                f"differently; call {name}.eval()"
            )
