"""The probe: what a loop tries at its front door, before anything expensive runs.

The same step is evaluated twice and taken twice, as a loop runs ahead only if both are functions of the step and of
what the state carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.optim.gradients import Batched, Gradients, OneByOne, Vmapped
from forerun.optim.optimizer_stepper import OptimizerStepper
from forerun.optim.task import GradientBatch, LossTask

AGREE = 1e-4  # of the size of a gradient, that two evaluations of it may differ by
SUITED = 1e-2  # and two ways to compute it: kernels of another batch size sum in another order


@final
@dataclass(frozen=True)
class AutoGradients(Gradients):
    """`Vmapped`, where the loss allows it and it agrees with `OneByOne`; else `OneByOne`, and the solution says why."""

    def compute_gradients(self, task: LossTask, steps: Tensor, tensors: Sequence[Tensor]) -> GradientBatch:
        return chosen(self, task, steps, tensors)[0].compute_gradients(task, steps, tensors)


def pure(task: LossTask, step: int, tensors: Sequence[Tensor]) -> GradientBatch:
    """The gradients of a step, evaluated twice and found to agree.

    Raises:
        ValueError: they do not; or buffers changed, or the loss depends on no parameter.
    """
    steps, rows = torch.tensor([step]), [tensor.unsqueeze(0) for tensor in tensors]
    versions = {name: buffer._version for name, buffer in task.parameters.buffers()}
    first = OneByOne().compute_gradients(task, steps, rows)
    changed = [name for name, buffer in task.parameters.buffers() if buffer._version != versions[name]]
    if changed:
        raise ValueError(
            f"the loss changes the buffer(s) {_listed(changed)} of a module, which a step must not, as it is evaluated "
            "several times; write torch.nn.GroupNorm for BatchNorm, or BatchNorm2d(..., track_running_stats=False)"
        )
    if not bool(first.used.any()):
        raise ValueError(
            "the loss depends on none of the parameters that it was given; let it use its first argument (for a "
            "module: the module that it is given), not the ones around it"
        )
    again = OneByOne().compute_gradients(task, steps, rows)
    apart = _apart(task, first, again, AGREE)
    if apart:
        raise ValueError(
            f"the loss is not a function of parameters and step: step {step}, evaluated twice, gave two gradients of "
            f"{_listed(apart)}. Draw all that is random from torch's, numpy's or python's global generator, which "
            "Loop(..., seed=0) seeds by the step, and take the batch by its step: batches[step % len(batches)], not "
            "next(iterator)"
        )
    return first


def counted(found: GradientBatch, bench: OptimizerStepper) -> int:
    """How many losses there are.

    Raises:
        ValueError: neither one nor one for each optimiser.
    """
    count = found.losses.shape[1]
    if count not in {1, len(bench.optimizers)}:
        raise ValueError(
            f"the loss returned {count} losses for {len(bench.optimizers)} optimiser(s); return one scalar, or one for "
            "each optimiser, in their order"
        )
    return count


def repeatable(bench: OptimizerStepper, held: Tree, found: GradientBatch) -> Tree:
    """The state after a step that was taken twice and found to agree.

    Raises:
        ValueError: an optimiser or scheduler keeps something that its state does not show.
    """
    gradients, used = [each[0] for each in found.gradients], [share > 0 for share in found.used[0].tolist()]
    after, _ = bench.step(held, gradients, used)
    kept = [tensor.clone() for tensor in tree_tensors(after)]
    again, _ = bench.step(held, gradients, used)
    same = all(torch.equal(a, b) for a, b in zip(kept, tree_tensors(again), strict=True) if not bool(a.isnan().any()))
    if not same:
        names = ", ".join(type(each).__name__ for each in bench.optimizers)
        raise ValueError(
            f"a step of {names}, taken twice from one state, gave two results: something outside its `state` and "
            "`param_groups` moves it; use an optimiser that keeps all there, or clip= without memory"
        )
    return again


def chosen(gradients: Gradients, task: LossTask, steps: Tensor, rows: Sequence[Tensor]) -> tuple[Gradients, str | None]:
    """The way to compute gradients, tried against `OneByOne`, and a sentence where it is another than asked for.

    Args:
        steps: `(W,)`, to be tried on; different ones.
        rows: parameters `(W, *shape)`.

    Raises:
        ValueError: `Batched` or `Vmapped` disagree with `OneByOne`.
    """
    if isinstance(gradients, OneByOne) or len(steps) < 2:
        return (OneByOne() if isinstance(gradients, AutoGradients) else gradients), None
    truth = OneByOne().compute_gradients(task, steps, rows)
    if isinstance(gradients, AutoGradients):
        return _suited(task, steps, rows, truth)
    apart = _apart(task, truth, gradients.compute_gradients(task, steps, rows), SUITED)
    if apart:
        how = "its losses" if isinstance(gradients, Batched) else "the loss"
        raise ValueError(
            f"{type(gradients).__name__} and OneByOne disagree about the gradient of {_listed(apart)}: {how} of a step "
            "must depend on that step's parameters and number alone; write gradients=OneByOne()"
        )
    return gradients, None


def _suited(
    task: LossTask, steps: Tensor, rows: Sequence[Tensor], truth: GradientBatch
) -> tuple[Gradients, str | None]:
    try:
        found = Vmapped().compute_gradients(task, steps, rows)
    except Exception as error:  # vmap refuses in many ways
        said = str(error).strip().splitlines()
        why = f"vmap refused the loss ({type(error).__name__}: {said[0] if said else ''})"
    else:
        if not _apart(task, truth, found, SUITED):
            return Vmapped(), None
        why = "vmap gave other gradients"
    return OneByOne(), (
        f"Gradients are taken one by one, as {why}; draw what is random in Loop(..., data=...), or write "
        "Batched(loss), to take them together."
    )


def _apart(task: LossTask, first: GradientBatch, second: GradientBatch, share: float) -> list[str]:
    """The labels of tensors whose gradients differ by more than a share of their size."""
    found = []
    for label, a, b in zip(task.parameters.labels, first.gradients, second.gradients, strict=True):
        sound = torch.isfinite(a) & torch.isfinite(b)
        gap = torch.linalg.vector_norm((a - b)[sound].double())
        if not gap <= share * torch.linalg.vector_norm(a[sound].double()) or not torch.equal(
            a.isfinite(), b.isfinite()
        ):
            found.append(label)
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
