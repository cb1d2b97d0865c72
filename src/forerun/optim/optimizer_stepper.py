"""OptimizerStepper: the user's own optimisers and schedulers, unmodified, taking a step from any state.

A state is loaded into the live objects as copies, they take their step, and what they hold then is the next state. The
memory of the user's tensors is left alone meanwhile: `install_state` writes a state into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from forerun.engine.numerics.tree import Tree, tree_map
from forerun.optim.packing import pack_value, unpack_value

ClipFunction = Callable[[list[Tensor]], Any]
CarriedState = dict[str, Tree]  # "params", "optimizers", "schedulers"


def leave_gradients(tensors: list[Tensor]) -> None:
    """Leave gradients as they are: the `clip` of whoever passes none."""


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
        clip: ClipFunction = leave_gradients,
    ) -> None:
        self.tensors = list(tensors)
        self.optimizers = list(optimizers)
        self.schedulers = list(schedulers)
        self._clip = clip
        trained_ids = {id(tensor) for tensor in self.tensors}
        self._tensors_by_optimizer = []
        for optimizer in self.optimizers:
            self._tensors_by_optimizer.append(_optimizer_tensors(optimizer, trained_ids))
        self._memories = [tensor.data for tensor in self.tensors]
        self._live_state: CarriedState | None = None  # the state whose plain values the live objects hold

    @property
    def locations(self) -> list[tuple[int, int]]:
        """For every tensor, the index of its optimiser and its index in that one's carried state."""
        by_id = {}
        for number, tensors in enumerate(self._tensors_by_optimizer):
            for index, tensor in enumerate(tensors):
                by_id[id(tensor)] = number, index
        return [by_id[id(tensor)] for tensor in self.tensors]

    def read_state(self) -> CarriedState:
        """Return the present state, in memory of its own."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # also what is frozen by now: no gradient of before may move it
        state: CarriedState = unpack_value(self._collect_state())
        return state

    def read_rates(self) -> list[list[Any]]:
        """Return the learning rates, of every group of every optimiser."""
        rates = []
        for optimizer in self.optimizers:
            rates.append([_group_rate(group) for group in optimizer.param_groups])
        return rates

    def read_options(self) -> Tree:
        """Return copies of all that optimisers and schedulers keep beside the tensors' own entries."""
        groups = []
        for optimizer in self.optimizers:
            groups.append([_copy_plain(_group_options(group)) for group in optimizer.param_groups])
        return groups, [_copy_plain(scheduler.state_dict()) for scheduler in self.schedulers]

    def copy_keepings(self) -> CarriedState:
        """Return copies of what optimisers and schedulers keep, without the parameters."""
        state: CarriedState = unpack_value(self._collect_state())
        del state["params"]
        return state

    def take_step(
        self,
        state: CarriedState,
        gradients: Sequence[Tensor],
        used: Sequence[bool],
    ) -> tuple[CarriedState, list[list[Any]]]:
        """Return the state after a step from `state`, which is left as it is, and the learning rates of that step.

        Args:
            state: the state before the step.
            gradients: one for each tensor; copied.
            used: whether the loss depends on the tensor; where not, the optimiser meets no gradient, as in a loop.
        """
        self._load_state(state)
        rates = self.read_rates()
        self._set_gradients(gradients, used)
        self._clip(self.tensors)
        for optimizer in self.optimizers:
            optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()
        self._live_state = self._collect_state()
        return self._live_state, rates

    def install_state(self, state: CarriedState) -> None:
        """Let the user's tensors and optimisers hold a state, in the memory that they had; without gradients."""
        self._live_state = None
        self._load_state(state)
        self.install_params(state["params"])
        self._live_state = None

    def install_params(self, params: Sequence[Tensor]) -> None:
        """Let the user's tensors hold parameters, in the memory that they had; without gradients."""
        for index, tensor in enumerate(self.tensors):
            value = params[index]
            memory = self._memories[index]
            if memory.shape == value.shape:
                memory.copy_(value)
            else:
                memory = self._memories[index] = value.clone()
            tensor.data = memory
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def show_gradients(self, gradients: Sequence[Tensor], used: Sequence[bool]) -> None:
        """Let the user's tensors hold the gradients of a step as a plain loop leaves them: clipped."""
        self._set_gradients(gradients, used)
        self._clip(self.tensors)

    def peek_state(self) -> CarriedState:
        """Return what the live objects hold now; not copied, and not to be changed."""
        return self._collect_state()

    def _set_gradients(self, gradients: Sequence[Tensor], used: Sequence[bool]) -> None:
        for tensor, gradient, is_used in zip(self.tensors, gradients, used, strict=True):
            tensor.grad = None
            if is_used:
                tensor.grad = torch.empty_like(tensor).copy_(gradient)

    def _collect_state(self) -> CarriedState:
        """Return what the live objects hold: not copied, where the next load replaces it anyway."""
        optimizers = []
        for optimizer, tensors in zip(self.optimizers, self._tensors_by_optimizer, strict=True):
            entries = [_tensor_entry(optimizer, tensor) for tensor in tensors]
            options = [_group_options(group) for group in optimizer.param_groups]
            groups = [_copy_plain(group) for group in options]
            shared = _copy_plain(_shared_entries(optimizer))
            optimizers.append({"state": entries, "groups": groups, "shared": shared})
        scheduler_states = [scheduler.state_dict() for scheduler in self.schedulers]
        return {
            "params": [tensor.data for tensor in self.tensors],
            "optimizers": optimizers,
            "schedulers": [_copy_plain(values) for values in scheduler_states],
        }

    def _load_state(self, state: CarriedState) -> None:
        for tensor, value in zip(self.tensors, state["params"], strict=True):
            tensor.data = value.clone()
        carried = zip(self.optimizers, self._tensors_by_optimizer, state["optimizers"], strict=True)
        for optimizer, tensors, values in carried:
            for tensor, entry in zip(tensors, values["state"], strict=True):
                if entry is None:
                    optimizer.state.pop(tensor, None)
                else:
                    previous = optimizer.state.get(tensor)
                    optimizer.state[tensor] = unpack_value(entry, previous)
        if state is not self._live_state:
            self._load_plain_values(state)

    def _load_plain_values(self, state: CarriedState) -> None:
        """Load what is kept beside the tensors; a step that goes on from the last one finds it in place."""
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            for group, options in zip(optimizer.param_groups, values["groups"], strict=True):
                _replace_entries(group, options, _group_options(group))
            _replace_entries(optimizer.state, values.get("shared", {}), _shared_entries(optimizer))
        for scheduler, values in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(unpack_value(values, scheduler.state_dict()))


def _optimizer_tensors(optimizer: Optimizer, trained_ids: set[int]) -> list[Tensor]:
    """Return the trained tensors of an optimiser, group by group."""
    tensors = []
    for group in optimizer.param_groups:
        tensors += [tensor for tensor in group["params"] if id(tensor) in trained_ids]
    return tensors


def _tensor_entry(optimizer: Optimizer, tensor: Tensor) -> Tree:
    """Return what an optimiser keeps for a tensor; None where it keeps nothing yet."""
    if tensor not in optimizer.state:
        return None
    return pack_value(optimizer.state[tensor])


def _group_options(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _shared_entries(optimizer: Optimizer) -> dict[Any, Any]:
    """Return what an optimiser keeps in its state for all tensors together, such as a count of steps."""
    return {key: value for key, value in optimizer.state.items() if not isinstance(key, Tensor)}


def _replace_entries(entries: dict[Any, Any], packed: Tree, previous: dict[Any, Any]) -> None:
    """Replace the previous entries of a dict by what was packed; those that only a later step makes are dropped."""
    values = unpack_value(packed, previous)
    for key in previous:
        if key not in values:
            del entries[key]
    entries.update(values)


def _group_rate(group: dict[str, Any]) -> Any:
    rate = group.get("lr")
    return rate.clone() if isinstance(rate, Tensor) else rate


def _copy_plain(values: dict[str, Any]) -> Tree:
    return tree_map(torch.clone, pack_value(values))
