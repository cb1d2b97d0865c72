"""The functor from torch modules to learners: gradient descent on a quadratic loss, composed module by module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from forerun.exact.learners.lenses import Space
from forerun.exact.learners.typed_learner import Parameters, TypedLearner


def learner_of_module(
    module: nn.Module, *, rate: float, source: Space = ("R^n",), target: Space = ("R^n",)
) -> TypedLearner:
    """Return a module as a learner that takes one step of SGD an example.

        E = |module(p, a) - b|^2 / 2,    update = p - rate grad_p E,    request = a - grad_a E

    For this loss composition is that of modules: `learner_of_module(f).then(learner_of_module(g))` takes the steps of
    SGD on `nn.Sequential(f, g)` ("Backprop as functor", theorem III.2). Other losses need an invertible derivative.

    Args:
        module: called as `module(a)`, in the mode that it is in; its parameters are read once and not changed.
        rate: of learning, positive.
        source: names of the input's space; learners with other names do not compose.
        target: names of the output's space.

    Raises:
        ValueError: the rate is not positive, or the module has buffers that it may change.
    """
    if not 0 < rate < float("inf"):
        raise ValueError(f"rate must be positive and finite, got {rate}; write rate=0.1")
    if module.training and any(True for _ in module.buffers()):
        name = type(module).__name__
        raise ValueError(f"{name} has buffers that training changes, and a learner has none; call .eval() first")
    names = [name for name, _ in module.named_parameters()]

    def implement(p: Parameters, a: Tensor) -> Any:
        return torch.func.functional_call(module, dict(zip(names, p, strict=True)), (a,))

    def measure_loss(p: Parameters, a: Tensor, b: Tensor) -> Tensor:
        loss: Tensor = (implement(p, a) - b).square().sum() / 2
        return loss

    gradients = torch.func.grad(measure_loss, argnums=(0, 1))

    def update(p: Parameters, a: Tensor, b: Tensor) -> Parameters:
        slopes, _ = gradients(p, a, b)
        return tuple(value - rate * slope for value, slope in zip(p, slopes, strict=True))

    def request(p: Parameters, a: Tensor, b: Tensor) -> Tensor:
        slope: Tensor = gradients(p, a, b)[1]
        return a - slope

    first = tuple(value.detach().clone() for _, value in module.named_parameters())
    return TypedLearner(
        source,
        target,
        first,
        implement,
        update,
        request,
    )


def train_by_sgd(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    rate: float,
) -> Parameters:
    """Return the parameters after an example a step of `torch.optim.SGD`: the loop that learners are tested against.

    Args:
        module: which is trained in place.
        inputs: `(T, *a)`.
        targets: `(T, *b)`.
        rate: of learning.
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=rate)
    for a, b in zip(inputs, targets, strict=True):
        optimizer.zero_grad()
        torch.autograd.backward((module(a) - b).square().sum() / 2)
        optimizer.step()
    return tuple(value.detach().clone() for value in module.parameters())
