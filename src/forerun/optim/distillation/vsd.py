"""VSD: score distillation against a model of the pictures themselves, which learns on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from forerun.optim.distillation.conditioning import Arguments
from forerun.optim.distillation.prior import Prior
from forerun.optim.distillation.sds import Weight, add_step_noise, pulled, weighted
from forerun.optim.distillation.timesteps import ConstantRange, TimestepSchedule, variance_weight

Weights = Mapping[str, Tensor]
FIT = 1 << 32  # added to the seed for the noise of the distilled model's own loss


@final
@dataclass(frozen=True)
class VSD:
    """Variational score distillation (ProlificDreamer, arXiv 2305.16213, equation 9 and algorithm 1).

        gradient of the picture x:    E [ w(t) (z(x_t; t, prompt) - z_phi(x_t; t, prompt)) ]
        loss of the weights phi:      E [ |z_phi(x_t'; t', prompt) - z'|^2 ]

    The distilled model `z_phi` learns the pictures as they are now: its weights and its optimiser are part of the
    state, and every step of a window is evaluated at the weights that are guessed for it. Both lines are losses of the
    step, and neither has a gradient for the other's variables:

        weights = distilled.trained_weights()
        loop = Loop([field, weights], [Adam([field]), AdamW(weights.values())], ...)

    Args:
        prior: the diffusion model.
        distilled: what learns. Its weights are handed in at every call.
        guidance: of the prior; 7.5 in the paper. The distilled model is asked with the prompt only.
        timesteps: of the first line. The second draws from 0 to 1.
        weight: `w`, of the rates of signal and noise.
        seed: of the noise.
    """

    prior: Prior
    distilled: DistilledModel
    guidance: float = 7.5
    timesteps: TimestepSchedule = ConstantRange()
    weight: Weight = variance_weight
    seed: int = 0

    def __call__(self, pictures: Tensor, steps: Tensor, cameras: Any, weights: Weights) -> tuple[Tensor, Tensor]:
        """The losses of the steps for the pictures, of which only the gradient means something, and for the weights.

        Args:
            pictures: `(W, V, 3, H, W)` in [0, 1]: V views a step.
            steps: int64 `(W,)`.
            cameras: of the `W * V` pictures, for the conditioning.
            weights: of the distilled model, by name, `(W, ...)` each.

        Returns:
            Two tensors `(W,)`.
        """
        count = len(steps)
        noised = add_step_noise(self.prior, pictures, steps, self.timesteps, seed=self.seed)
        again = add_step_noise(self.prior, pictures.detach(), steps, ConstantRange(0.0, 1.0), seed=self.seed + FIT)
        arguments = self.prior.network_arguments(len(noised.clean), cameras, guided=False)
        with torch.no_grad():
            seen = self.prior.guided_noise(noised.noisy, noised.timesteps, cameras, guidance=self.guidance)
            known = self.distilled.predict_noise(weights, noised.noisy, noised.timesteps, arguments)
            pull = weighted(self.prior, self.weight, noised.timesteps, seen - known)
        learnt = self.distilled.predict_noise(weights, again.noisy, again.timesteps, arguments)
        fit = (learnt - again.noise).square().flatten(1).mean(1).reshape(count, -1).mean(1)
        return pulled(noised.clean, pull, count), fit


@final
class DistilledModel:
    """A second model of the prior's kind, whose weights are handed in: a LoRA of the prior's network, or a copy.

    Args:
        prior: tells the kind.
        network: the prior's network with adapters (`network.add_adapter(peft.LoraConfig(...))`), or a copy of it.
            What requires a gradient is what learns, the rest is shared by all steps of a window.
        together: all steps of a window in one call, by `torch.func.vmap`; right for a LoRA, whose few weights are
            all that differ. Step by step otherwise.
    """

    def __init__(self, prior: Prior, network: nn.Module, *, together: bool = True) -> None:
        self._network = network
        self._prior = prior
        self._together = together
        if not self.trained_weights():
            raise ValueError(
                f"no weight of the distilled {type(network).__name__} requires a gradient, so nothing would be learnt; "
                "write network.add_adapter(peft.LoraConfig(r=4, target_modules=['to_q', 'to_k', 'to_v', 'to_out.0']))"
            )

    def trained_weights(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name: what goes into the parameters of the loop."""
        return {name: weight for name, weight in self._network.named_parameters() if weight.requires_grad}

    def predict_noise(self, weights: Weights, noisy: Tensor, timesteps: Tensor, arguments: Arguments) -> Tensor:
        """The noise that the model sees with each step's weights `(W, ...)` in its pictures `(W * V, C, h, w)`."""
        count = len(next(iter(weights.values())))

        def split(tensor: Tensor) -> Tensor:
            return tensor.reshape(count, len(tensor) // count, *tensor.shape[1:])

        rows = [split(noisy), split(timesteps), _over(split, arguments)]
        if self._together:
            with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for stacked calls on the CPU
                found: Tensor = torch.func.vmap(self._one)(dict(weights), *rows)
            return found.flatten(0, 1)
        return torch.cat([self._one(*_at(i, (weights, *rows))) for i in range(count)])

    def _one(self, weights: Weights, noisy: Tensor, timesteps: Tensor, arguments: Arguments) -> Tensor:
        def network(noisy: Tensor, timesteps: Tensor, **named: Any) -> Any:
            given = (noisy.to(getattr(self._network, "dtype", noisy.dtype)), timesteps)
            return torch.func.functional_call(self._network, dict(weights), given, named)

        return replace(self._prior, network=network).predict_noise(noisy, timesteps, arguments)


def _at(step: int, parts: tuple[Any, ...]) -> list[Any]:
    return [_over(lambda tensor: tensor[step], part) for part in parts]


def _over(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _over(function, value) for name, value in tree.items()}
    return function(tree)
