"""OptimizerStepper: the user's own optimisers and schedulers, unmodified, taking a step from any state.

A state is loaded into the live objects as copies, they take their step, and what they hold then is the next state. The
memory of the user's tensors is left alone meanwhile: `install` writes a state into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from forerun.engine.numerics.tree import Tree, tree_map
from forerun.optim.packing import packed, unpacked

Clip = Callable[[list[Tensor]], Any]
Held = dict[str, Tree]  # "params", "optimisers", "schedulers"


@final
class OptimizerStepper:
    """Steps of live optimisers from a carried state.

    Args:
        tensors: the trained tensors.
        optimizers: over these tensors; each keeps its state as it always does.
        schedulers: stepped after the optimisers, in this order.
        clip: called with the tensors, their gradients in `.grad`, before the optimisers step.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        optimizers: Sequence[Optimizer],
        *,
        schedulers: Sequence[LRScheduler] = (),
        clip: Clip = lambda tensors: None,
    ) -> None:
        self.tensors = list(tensors)
        self.optimizers = list(optimizers)
        self._schedulers = list(schedulers)
        self._clip = clip
        known = {id(tensor) for tensor in self.tensors}
        self._owned = [
            [tensor for group in each.param_groups for tensor in group["params"] if id(tensor) in known]
            for each in self.optimizers
        ]
        self._home = [tensor.data for tensor in self.tensors]
        self._live: Held | None = None  # the state whose plain values the live objects hold

    @property
    def places(self) -> list[tuple[int, int]]:
        """For every tensor, its optimiser and its place in that one's carried state."""
        found = {id(tensor): (i, k) for i, owned in enumerate(self._owned) for k, tensor in enumerate(owned)}
        return [found[id(tensor)] for tensor in self.tensors]

    def read(self) -> Held:
        """The present state, in memory of its own."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # also what is frozen by now: nothing left over shall move it
        held: Held = unpacked(self._take())
        return held

    def rates(self) -> list[list[Any]]:
        """The learning rates, of every group of every optimiser."""
        found = [[group.get("lr") for group in each.param_groups] for each in self.optimizers]
        return [[rate.clone() if isinstance(rate, Tensor) else rate for rate in rates] for rates in found]

    def step(self, held: Held, gradients: Sequence[Tensor], used: Sequence[bool]) -> tuple[Held, list[list[Any]]]:
        """The state after a step from `held`, which is left as it is, and the learning rates that it was taken with.

        Args:
            gradients: of every tensor; copied.
            used: whether the loss depends on the tensor; where not, the optimiser meets no gradient, as in a loop.
        """
        self._load(held)
        rates = self.rates()
        for tensor, gradient, known in zip(self.tensors, gradients, used, strict=True):
            tensor.grad = torch.empty_like(tensor).copy_(gradient) if known else None
        self._clip(self.tensors)
        for optimizer in self.optimizers:
            optimizer.step()
        for scheduler in self._schedulers:
            scheduler.step()
        self._live = self._take()
        return self._live, rates

    def install(self, held: Held) -> None:
        """Let the user's tensors and optimisers hold a state, in the memory that they had; without gradients."""
        self._live = None
        self._load(held)
        for index, (tensor, home, value) in enumerate(zip(self.tensors, self._home, held["params"], strict=True)):
            if home.shape == value.shape:
                home.copy_(value)
            else:
                home = self._home[index] = value.clone()
            tensor.data = home
            tensor.grad = None
        self._live = None

    def _take(self) -> Held:
        """What the live objects hold: not copied, where the next load replaces it anyway."""
        optimisers = [
            {
                "state": [packed(each.state[tensor]) if tensor in each.state else None for tensor in owned],
                "groups": [tree_map(torch.clone, packed(_options(group))) for group in each.param_groups],
            }
            for each, owned in zip(self.optimizers, self._owned, strict=True)
        ]
        schedulers = [tree_map(torch.clone, packed(scheduler.state_dict())) for scheduler in self._schedulers]
        return {
            "params": [tensor.data for tensor in self.tensors],
            "optimisers": optimisers,
            "schedulers": schedulers,
        }

    def _load(self, held: Held) -> None:
        for tensor, value in zip(self.tensors, held["params"], strict=True):
            tensor.data = value.clone()
        for optimizer, owned, kept in zip(self.optimizers, self._owned, held["optimisers"], strict=True):
            for tensor, entry in zip(owned, kept["state"], strict=True):
                if entry is None:
                    optimizer.state.pop(tensor, None)
                else:
                    optimizer.state[tensor] = unpacked(entry, optimizer.state.get(tensor))
        if held is not self._live:
            self._load_plain(held)

    def _load_plain(self, held: Held) -> None:
        """What stands beside the tensors of the state; a step that goes on from the last one finds it in place."""
        for optimizer, kept in zip(self.optimizers, held["optimisers"], strict=True):
            for group, options in zip(optimizer.param_groups, kept["groups"], strict=True):
                group.update(unpacked(options, _options(group)))
        for scheduler, kept in zip(self._schedulers, held["schedulers"], strict=True):
            scheduler.load_state_dict(unpacked(kept, scheduler.state_dict()))


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}
