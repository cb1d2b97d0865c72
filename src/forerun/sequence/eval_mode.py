"""Layers that answer the same question twice differently are refused."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def check_at_rest(module: nn.Module, name: str) -> None:
    """Refuse a module with dropout or batch norm in training mode.

    Raises:
        ValueError: it has one; the message has the line to type.
    """
    for place, inner in module.named_modules():
        if inner.training and isinstance(inner, _DropoutNd | _BatchNorm):
            raise ValueError(
                f"{name} is in training mode, and its {type(inner).__name__} ({place or 'itself'}) would answer twice "
                f"differently; call {name}.eval()"
            )
