"""ScheduleFree: SGD and AdamW whose averages stand in for a schedule, and whose horizon need not be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from forerun.optim.step_directions import PlainGradient, RootMeanSquare, StepDirection

Trainable = nn.Module | Iterable[Tensor] | Iterable[dict[str, Any]]
RATE_POWER = 2  # of the weight of a step in the average


class WrongParameters(RuntimeError):
    """A model was called, or a step was taken, with parameters that are not meant for it."""


class ScheduleFree(Optimizer):
    """Gradients at one point, steps of another, and the average of these to be used (Defazio et al., arXiv 2405.15682).

        y_t     = (1 - beta) z_t + beta x_t          gradients are taken here
        z_{t+1} = z_t - rate_t d_t                   d_t: direction of the gradient at y_t, and decay times y_t
        x_{t+1} = (1 - c) x_t + c z_{t+1}            c = w_t / (w_0 + ... + w_t),  w_t = (t + 1)^r (largest rate)^2

    In training the parameters are `y`. What is evaluated, saved and shipped is `x`:

        with optimizer.averaged():
            validate(model)

    Where a module is handed over, a call of it in evaluation mode outside of the context, or in training mode inside,
    is an error: it would be of parameters that are not meant for it. `beta = 0` is Polyak's averaging, 1 primal.
    `x` and `z` are kept, so that going back and forth changes no bit; that is one tensor more than AdamW keeps.

    Args:
        params: a module, or what torch's optimisers take.
        lr: the rate after warm-up. SGD: 10 to 50 times that of a schedule; AdamW: 1 to 10 times.
        beta: share of the average in where gradients are taken; 0.95 to 0.98 for very long runs.
        direction: of a step; `ScheduleFree.sgd(...)` and `ScheduleFree.adamw(...)` choose it.
        weight_decay: times `y`, added to the direction.
        warmup_steps: over which the rate rises to `lr`.
        weight_power: `r` above; above zero later steps count for more.

    Raises:
        ValueError: a setting out of its range, or complex parameters.
    """

    def __init__(
        self,
        params: Trainable,
        lr: float = 1.0,
        *,
        beta: float = 0.9,
        direction: StepDirection | None = None,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        weight_power: float = 0.0,
    ) -> None:
        _refuse_settings(lr, beta, weight_decay, warmup_steps)
        defaults = {"lr": lr, "beta": beta, "weight_decay": weight_decay, "warmup_steps": warmup_steps}
        counters = {"weight_power": weight_power, "count": 0, "weight_sum": 0.0, "largest_rate": 0.0, "averaged": False}
        self.direction = PlainGradient() if direction is None else direction
        tensors = params.parameters() if isinstance(params, nn.Module) else params
        super().__init__(tensors, defaults | counters)
        for tensor in self._tensors():
            if tensor.is_complex():
                raise ValueError("parameters must be real: hand over torch.view_as_real(parameter) instead")
        if isinstance(params, nn.Module):
            params.register_forward_pre_hook(partial(_refuse_wrong_call, self))

    @classmethod
    def sgd(cls, params: Trainable, lr: float = 1.0, **settings: Any) -> ScheduleFree:
        """Return schedule-free SGD; settings are those of the class."""
        return cls(params, lr, direction=PlainGradient(), **settings)

    @classmethod
    def adamw(
        cls, params: Trainable, lr: float = 0.0025, *, betas: tuple[float, float] = (0.9, 0.999), **settings: Any
    ) -> ScheduleFree:
        """Return schedule-free AdamW; `betas` are the share of the average and the decay of the mean square."""
        floor = settings.pop("eps", 1e-8)
        return cls(params, lr, beta=betas[0], direction=RootMeanSquare(betas[1], floor), **settings)

    @property
    def holds_average(self) -> bool:
        """Whether the parameters are the average, to be evaluated, and not those of training."""
        return bool(self.param_groups[0]["averaged"])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the parameters be the average inside of the context, and those of training again after it."""
        was_averaged = self.holds_average
        self.eval()
        try:
            yield
        finally:
            if not was_averaged:
                self.train()

    @torch.no_grad()
    def eval(self) -> None:
        """Let the parameters be the average from here on."""
        for group in self.param_groups:
            for tensor in group["params"]:
                state = self.state.get(tensor)
                if state:
                    tensor.copy_(state["x"])
            group["averaged"] = True

    @torch.no_grad()
    def train(self) -> None:
        """Let the parameters be those at which gradients are taken from here on."""
        for group in self.param_groups:
            for tensor in group["params"]:
                state = self.state.get(tensor)
                if state:
                    torch.lerp(state["z"], state["x"], group["beta"], out=tensor)
            group["averaged"] = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; returns the loss of a closure.

        Raises:
            WrongParameters: the parameters are the average.
            ValueError: a gradient is sparse.
        """
        if self.holds_average:
            raise WrongParameters(
                "a step was taken while the parameters are the average: leave `with optimizer.averaged():` first, or "
                "call optimizer.train()"
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        count = group["count"] = group["count"] + 1
        rate = group["lr"] * min(1.0, count / max(1, group["warmup_steps"]))
        largest = group["largest_rate"] = max(rate, group["largest_rate"])
        weight = count ** group["weight_power"] * largest**RATE_POWER
        group["weight_sum"] += weight
        share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
        for tensor in group["params"]:
            if tensor.grad is None:
                continue
            if tensor.grad.is_sparse:
                raise ValueError("a gradient is sparse: write torch.nn.Embedding(..., sparse=False)")
            self._step_tensor(tensor, group, rate, share=share)

    def _step_tensor(
        self,
        tensor: Tensor,
        group: dict[str, Any],
        rate: float,
        *,
        share: float,
    ) -> None:
        assert tensor.grad is not None
        state = self.state[tensor]
        if "z" not in state:
            state["z"], state["x"] = tensor.clone(), tensor.clone()
        direction = self.direction.scale_gradient(tensor.grad, state, group["count"])
        if group["weight_decay"]:
            direction = direction.add(tensor, alpha=group["weight_decay"])
        state["z"].sub_(direction, alpha=rate)
        state["x"].lerp_(state["z"], share)
        torch.lerp(state["z"], state["x"], group["beta"], out=tensor)

    def _tensors(self) -> Iterator[Tensor]:
        for group in self.param_groups:
            yield from group["params"]


def _refuse_settings(
    lr: float,
    beta: float,
    weight_decay: float,
    warmup_steps: int,
) -> None:
    if not 0 <= lr < float("inf"):
        raise ValueError(f"the rate must be finite and not negative, got lr={lr}")
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is a share, from 0 to 1, got {beta}")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay must be finite and not negative, got {weight_decay}")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")


def _refuse_wrong_call(optimizer: ScheduleFree, model: nn.Module, inputs: Any) -> None:
    """Refuse to evaluate what is meant for training, or to train on the average."""
    if model.training == optimizer.holds_average:
        held = "the average, which is for evaluation" if optimizer.holds_average else "those of training"
        mode = "training" if model.training else "evaluation"
        advice = "optimizer.train()" if model.training else "with optimizer.averaged():"
        raise WrongParameters(
            f"the model was called in {mode} mode, but its parameters are {held}: write `{advice}` before it"
        )
