"""What is observed, as rows for the network; and what is wrong with it, before anything is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor


@final
class ObservationRows:
    """Checks observations and puts them where the network is.

    Args:
        environments: how many are observed together.
        shape: of one observation; None to learn it from the first.
        dtype: of the network.
        device: of the network.
    """

    def __init__(
        self,
        environments: int,
        shape: Sequence[int] | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._count = environments
        self._shape = None if shape is None else tuple(shape)
        self._dtype = dtype
        self._device = device

    def from_observation(self, observation: Any) -> Tensor:
        """Return rows `(environments, *obs)`.

        Raises:
            TypeError: the observation is not a tensor or array of floating point numbers.
            ValueError: it has another shape, or values that are not finite.
        """
        observation = _as_float_tensor(observation)
        if self._shape is None:
            self._shape = self._learn_shape(observation)
        if not self.is_batched(observation) and not self._is_single(observation):
            self._refuse_shape(observation)
        rows: Tensor = observation.to(self._device, self._dtype).reshape(self._count, *self._shape)
        _refuse_nonfinite(rows)
        return rows

    def is_batched(self, observation: Any) -> bool:
        """Return whether the observation has an axis over the environments."""
        return self._shape is not None and tuple(observation.shape) == (self._count, *self._shape)

    def _is_single(self, observation: Tensor) -> bool:
        return self._count == 1 and tuple(observation.shape) == self._shape

    def _learn_shape(self, observation: Tensor) -> tuple[int, ...]:
        if self._count == 1:
            return tuple(observation.shape)
        return tuple(observation.shape[1:])

    def _refuse_shape(self, observation: Tensor) -> None:
        assert self._shape is not None, "a shape is learnt before it is compared"
        shape, expected = list(observation.shape), list(self._shape)
        if tuple(observation.shape[1:]) == self._shape:
            raise ValueError(
                f"the observation is of {shape[0]} environments, and this sampler of {self._count}; their number "
                f"cannot change: make Sampler(..., environments={shape[0]})"
            )
        if self._count > 1:
            expected = [self._count, *expected]
        raise ValueError(
            f"the observation has shape {shape}, but this sampler takes {expected}; reshape it, or say "
            f"Sampler(..., observation={tuple(shape)})"
        )


def _as_float_tensor(observation: Any) -> Tensor:
    if not isinstance(observation, Tensor):
        if not hasattr(observation, "__array__"):
            raise TypeError(
                f"the observation is a {type(observation).__name__}; pass a tensor or an array of floating point "
                "numbers, such as torch.cat of all that is observed"
            )
        observation = torch.as_tensor(observation)
    tensor: Tensor = observation
    if not tensor.is_floating_point():
        raise TypeError(
            f"the observation is of {tensor.dtype}; the network takes floating point numbers, scaled as in "
            "its training: pass observation.float()"
        )
    return tensor


def _refuse_nonfinite(rows: Tensor) -> None:
    finite = torch.isfinite(rows)
    if bool(finite.all()):
        return
    environments = (~finite).flatten(1).any(1).nonzero().flatten().tolist()
    raise ValueError(
        f"the observation of environment(s) {environments} holds values that are not finite; nothing was sampled: "
        "look at the sensors, or pass the last sound observation"
    )
