"""The axes of what a recurrent module of `torch.nn` takes and returns, and the way to time first and back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class SequenceAxes:
    """How the axes of a module's inputs lie.

    Attributes:
        unbatched: inputs are `(T, I)`.
        batch_first: inputs are `(B, T, I)`.
    """

    unbatched: bool
    batch_first: bool

    @classmethod
    def from_inputs(cls, module: nn.RNNBase, xs: Tensor) -> SequenceAxes:
        """Return the axes of the inputs of a module."""
        unbatched = xs.dim() == 2
        batch_first = module.batch_first and xs.dim() == 3
        return cls(unbatched, batch_first)

    def put_time_first(self, xs: Tensor) -> Tensor:
        """Return inputs as `(T, B, I)`."""
        if self.unbatched:
            return xs.unsqueeze(1)
        if self.batch_first:
            return xs.transpose(0, 1)
        return xs

    def restore_order(self, outputs: Tensor) -> Tensor:
        """Return outputs `(T, B, H)` as the module returns them."""
        if self.unbatched:
            return outputs.squeeze(1)
        if self.batch_first:
            return outputs.transpose(0, 1)
        return outputs

    def add_batch(self, state: Tensor) -> Tensor:
        """Return a state as `(L, B, H)`."""
        if self.unbatched:
            return state.unsqueeze(1)
        return state

    def drop_batch(self, state: Tensor) -> Tensor:
        """Return a state `(L, B, H)` as the module returns it."""
        if self.unbatched:
            return state.squeeze(1)
        return state
