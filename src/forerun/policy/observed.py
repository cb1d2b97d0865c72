"""What is observed, as rows for the network; and what is wrong with it, before anything is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor


@final
class Observations:
    """Checks observations and puts them where the network is.

    Args:
        environments: how many are observed together.
        shape: of one observation; None to learn it from the first.
        dtype: of the network.
        device: of the network.
    """

    def __init__(
        self, environments: int, shape: Sequence[int] | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._count = environments
        self._shape = None if shape is None else tuple(shape)
        self._dtype, self._device = dtype, device

    def of(self, observation: Any) -> Tensor:
        """Rows `(environments, *obs)`."""
        if not isinstance(observation, Tensor):
            if not hasattr(observation, "__array__"):
                raise TypeError(
                    f"the observation is a {type(observation).__name__}; pass a tensor or an array of floating point "
                    "numbers, such as torch.cat of all that is observed"
                )
            observation = torch.as_tensor(observation)
        if not observation.is_floating_point():
            raise TypeError(
                f"the observation is of {observation.dtype}; the network takes floating point numbers, scaled as in "
                "its training: pass observation.float()"
            )
        if self._shape is None:
            self._shape = tuple(observation.shape if self._count == 1 else observation.shape[1:])
        if not self.batched(observation) and (self._count > 1 or tuple(observation.shape) != self._shape):
            self._refuse(observation)
        rows: Tensor = observation.to(self._device, self._dtype).reshape(self._count, *self._shape)
        if not bool(torch.isfinite(rows).all()):
            found = (~torch.isfinite(rows)).flatten(1).any(1).nonzero().flatten().tolist()
            raise ValueError(
                f"the observation of environment(s) {found} holds values that are not finite; nothing was sampled: "
                "look at the sensors, or pass the last sound observation"
            )
        return rows

    def batched(self, observation: Any) -> bool:
        """Whether the observation has an axis over the environments."""
        return self._shape is not None and tuple(observation.shape) == (self._count, *self._shape)

    def _refuse(self, observation: Tensor) -> None:
        assert self._shape is not None
        came, one = list(observation.shape), list(self._shape)
        if tuple(observation.shape[1:]) == self._shape:
            raise ValueError(
                f"the observation is of {came[0]} environments, and this sampler of {self._count}; their number cannot "
                f"change: make Sampler(..., environments={came[0]})"
            )
        asked = one if self._count == 1 else [self._count, *one]
        raise ValueError(
            f"the observation has shape {came}, but this sampler takes {asked}; reshape it, or say "
            f"Sampler(..., observation={tuple(came)})"
        )
