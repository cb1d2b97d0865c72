"""DistilledModel: a second model of the prior's kind, called with the weights of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from forerun.optim.distillation.conditioning import Arguments
from forerun.optim.distillation.prior import Prior

NamedWeights = Mapping[str, Tensor]


@final
class DistilledModel:
    """A second model of the prior's kind, whose weights are handed in: a LoRA of the prior's network, or a copy.

    Args:
        prior: the model whose kind this one is of: what it predicts, and the noise of its timesteps.
        network: the prior's network with adapters (`network.add_adapter(peft.LoraConfig(...))`), or a copy of it.
            What requires a gradient is what learns, the rest is shared by all steps of a window. Its activations are
            stored, even where gradient checkpointing is enabled: what is computed again in the backward pass would
            meet the network's own weights, not those of the step.
        together: all steps of a window in one call, by `torch.func.vmap`; right for a LoRA, whose few weights are
            all that differ. Step by step otherwise.
    """

    def __init__(
        self,
        prior: Prior,
        network: nn.Module,
        *,
        together: bool = True,
    ) -> None:
        self._network = network
        self._prior = prior
        self._together = together
        if not self.trained_weights():
            raise ValueError(
                f"no weight of the distilled {type(network).__name__} requires a gradient, so nothing would be learnt; "
                "write network.add_adapter(peft.LoraConfig(r=4, target_modules=['to_q', 'to_k', 'to_v', 'to_out.0']))"
            )

    def trained_weights(self) -> dict[str, nn.Parameter]:
        """Return the weights that learn, by name: what goes into the parameters of the loop."""
        return {name: weight for name, weight in self._network.named_parameters() if weight.requires_grad}

    def predict_noise(
        self,
        weights: NamedWeights,
        noisy: Tensor,
        timesteps: Tensor,
        arguments: Arguments,
    ) -> Tensor:
        """Return the noise that the model sees with each step's weights `(W, ...)` in its pictures `(W * V, C, h, w)`.

        Args:
            weights: of every step, by name.
            noisy: pictures, those of the first step first.
            timesteps: `(W * V,)`.
            arguments: of the network, a row a picture.
        """
        count = len(next(iter(weights.values())))

        def split_steps(tensor: Tensor) -> Tensor:
            return tensor.reshape(count, len(tensor) // count, *tensor.shape[1:])

        step_inputs = (
            dict(weights),
            split_steps(noisy),
            split_steps(timesteps),
            _map_tensors(split_steps, arguments),
        )
        if self._together:
            with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for stacked calls on the CPU
                noise: Tensor = torch.func.vmap(self._predict_step)(*step_inputs)
            return noise.flatten(0, 1)
        return torch.cat([self._predict_step(*_select_step(index, step_inputs)) for index in range(count)])

    def _predict_step(
        self,
        weights: NamedWeights,
        noisy: Tensor,
        timesteps: Tensor,
        arguments: Arguments,
    ) -> Tensor:
        """Return the noise that the model sees with the weights of one step in its pictures."""

        def call_network(noisy: Tensor, timesteps: Tensor, **arguments: Any) -> Any:
            dtype = getattr(self._network, "dtype", noisy.dtype)
            inputs = (noisy.to(dtype), timesteps)
            with _storing_activations(self._network):
                return torch.func.functional_call(self._network, dict(weights), inputs, arguments)

        prior = replace(self._prior, network=call_network)
        return prior.predict_noise(noisy, timesteps, arguments)


@contextmanager
def _storing_activations(network: nn.Module) -> Iterator[None]:
    """Switch gradient checkpointing off for a while, in every module that has it on."""
    modules: list[Any] = [module for module in network.modules() if getattr(module, "gradient_checkpointing", False)]
    for module in modules:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in modules:
            module.gradient_checkpointing = True


def _select_step(index: int, step_inputs: tuple[Any, ...]) -> list[Any]:
    return [_map_tensors(lambda tensor: tensor[index], tree) for tree in step_inputs]


def _map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map_tensors(function, value) for name, value in tree.items()}
    return function(tree)
