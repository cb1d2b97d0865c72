"""check_backend: whether a backend keeps its contract."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun.engine.backends import Backend
from forerun.engine.testing.agreement import (
    is_same,
    require,
    require_sequential_answer,
    small_problems,
)


@torch.no_grad()
def check_backend(backend: Backend) -> None:
    """Check that a backend keeps its contract: every step evaluated by itself, in order, and the sequential answer.

    Args:
        backend: the backend.

    Raises:
        ContractBroken: it does not.
    """
    inputs = torch.linspace(-1, 1, 70, dtype=torch.float64).reshape(7, 2, 5)

    def call(steps: Tensor, rows: Tensor) -> Tensor:
        return torch.sin(rows) + steps.to(rows).reshape(-1, 1, 1)

    for steps in (torch.arange(7), torch.tensor([2]), torch.tensor([0, 3, 9])):
        rows = inputs[: len(steps)]
        outputs, timing = backend.evaluate(call, steps, rows, 0.0)
        require(
            is_same(outputs, call(steps, rows)),
            f"evaluate gave other outputs for the steps {steps.tolist()} than the call itself; keep their order",
        )
        require(timing().total >= 0, "the time of a round is negative")
    for process, state in small_problems():
        require_sequential_answer(process, state, backend=backend)
