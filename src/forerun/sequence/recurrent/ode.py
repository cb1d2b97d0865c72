"""odeint: an ordinary differential equation on a fixed grid, all steps at once, with its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree, describe_tree, tree_map, tree_tensors
from forerun.engine.options import SolveKeywords, SolveOptions
from forerun.sequence.recurrent.scan import DEFAULT_JACOBIAN_BYTES, ScanSolution, scan


@final
@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta scheme: `k_j = f(t + c_j dt, y + dt sum_l a_jl k_l)`, `y' = y + dt sum_j b_j k_j`.

    Attributes:
        a: one row a stage, each as long as the stages before it.
        b: weights of the stages.
        c: places of the stages in the step.
    """

    a: Sequence[Sequence[float]]
    b: Sequence[float]
    c: Sequence[float]

    def step(
        self,
        f: Callable[[Tensor, Any], Any],
        t: Tensor,
        dt: Tensor,
        y: Tree,
    ) -> Tree:
        """Return the state `dt` after `t`; both of them tensors that broadcast with `y`, a tensor or a tree of them."""
        leaves, spec = pytree.tree_flatten(y)
        k: list[list[Tensor]] = []
        for a_j, c_j in zip(self.a, self.c, strict=True):
            inner = _move_leaves(leaves, dt, a_j, k)
            slope = f(t + c_j * dt, pytree.tree_unflatten(inner, spec))
            k.append(tree_tensors(slope))
        return pytree.tree_unflatten(_move_leaves(leaves, dt, self.b, k), spec)


EULER = ButcherTableau(
    a=((),),
    b=(1.0,),
    c=(0.0,),
)
RK4 = ButcherTableau(
    a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 0.5, 0.5, 1.0),
)
DOPRI5 = ButcherTableau(  # the fifth-order solution of Dormand and Prince 1980
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
)


@final
class OdeStep:
    """One step of a scheme as a cell: `(y, (t, dt)) -> y'`.

    Args:
        f: the right-hand side.
        scheme: of the step.
        plain_time: whether `f` takes `t` as one number, because it branches on it or makes it a float.
    """

    def __init__(
        self,
        f: Callable[[Tensor, Any], Any],
        scheme: ButcherTableau,
        *,
        plain_time: bool,
    ) -> None:
        self.__wrapped__ = f  # where the user's own code is
        self._scheme = scheme
        self._plain_time = plain_time

    def __call__(self, y: Tree, time_and_step: Tensor) -> Tree:
        if self._plain_time:
            time, dt = time_and_step[0].unbind(-1)
            return self._scheme.step(self.__wrapped__, time, dt, y)
        axes = [1] * (tree_tensors(y)[0].dim() - 1)
        time, dt = time_and_step.unbind(-1)
        return self._scheme.step(self.__wrapped__, time.reshape(-1, *axes), dt.reshape(-1, *axes), y)


def odeint(
    f: Callable[[Tensor, Any], Any],
    y0: Tree,
    t: Tensor,
    *,
    scheme: ButcherTableau = RK4,
    max_bytes: int = DEFAULT_JACOBIAN_BYTES,
    options: SolveOptions | None = None,
    **keywords: Unpack[SolveKeywords],
) -> ScanSolution:
    """Return the solution of `dy/dt = f(t, y)` at the times of a grid, one step of a scheme between two of them.

    Args:
        f: `f(t, y)` for a batch: `t` `(B, 1, ...)`, which broadcasts with `y` `(B, *shape)`; returns `(B, *shape)`.
            Where it cannot take that, because it has `if t < 1` or `float(t)`, it gets `t` as one number, and the
            plain loop is taken.
        y0: at `t[0]`, `(B, *shape)`; or a tuple or another tree of such tensors, as which `f` returns its slopes.
        t: the grid, `(T + 1,)`, rising or falling.
        scheme: `RK4`, `DOPRI5` (its fifth-order solution, the step being that of the grid) or `EULER`.
        max_bytes: what Jacobians may take, forth and back.
        options: how to solve, as one object; see `forerun.sequence.scan`.
        keywords: the options one by one.

    Returns:
        A `ScanSolution` whose `hidden` holds the solution at `t[1:]`, `(T, B, *shape)`: differentiable in `y0`, `t` and
        in what `f` closes over, by one reverse scan.

    Raises:
        ValueError: the grid has no step, or does not rise or fall throughout; `y0` has no batch axis; or `f` returns
            another shape than that of `y0`.
    """
    options = SolveOptions.gather(options, keywords)
    _check_grid(t)
    states = tree_tensors(y0)
    _check_start(y0, states)
    plain_time = _takes_plain_time(f, y0, t)
    grid = torch.stack([t[:-1], t.diff()], -1).to(states[0])
    grid = grid.unsqueeze(1).expand(-1, len(states[0]), -1)
    cell = OdeStep(f, scheme, plain_time=plain_time)
    return scan(cell, y0, grid, max_bytes=max_bytes, options=options)


def _takes_plain_time(f: Callable[[Tensor, Any], Any], y0: Tree, t: Tensor) -> bool:
    """Return whether a right-hand side takes the time as one number, and not one a sample.

    Raises:
        ValueError: it returns slopes of another shape.
    """
    states = tree_tensors(y0)
    if not all(leaf.numel() for leaf in states):
        return False
    time = t[:1].detach().to(states[0])
    axes = [1] * (states[0].dim() - 1)
    shapes = [leaf.shape for leaf in states]
    try:
        result = _try_slope(f, time.expand(len(states[0])).reshape(-1, *axes), y0)
    except (RuntimeError, TypeError, ValueError):
        result = _try_slope(f, time[0], y0)
        return True
    if [leaf.shape for leaf in tree_tensors(result)] == shapes:
        return False
    plain_result = _try_slope(f, time[0], y0)
    if [leaf.shape for leaf in tree_tensors(plain_result)] == shapes:
        return True
    raise ValueError(
        f"f made {describe_tree(result)} of y {describe_tree(y0)} and t {list(time.shape)}; return the slope of every "
        "element, of the same shape"
    )


def _try_slope(f: Callable[[Tensor, Any], Any], time: Tensor, y0: Tree) -> Tree:
    return f(time, tree_map(lambda leaf: leaf.detach().clone(), y0))


def _check_start(y0: Tree, states: Sequence[Tensor]) -> None:
    if states and min(leaf.dim() for leaf in states) >= 2:
        return
    raise ValueError(
        f"y0 is {describe_tree(y0)}, without an axis of samples or of elements; pass (B, ...): of one system "
        "y0.reshape(1, -1), of a batch of single numbers y0.unsqueeze(-1)"
    )


def _check_grid(t: Tensor) -> None:
    steps = t.diff()
    is_grid = t.dim() == 1 and len(steps) > 0
    if not is_grid or not bool((steps > 0).all() | (steps < 0).all()):
        raise ValueError(
            f"t has shape {list(t.shape)}, and must be a grid of two or more times that rises or falls throughout; "
            "pass torch.linspace(0, 1, 101)"
        )


def _move_leaves(
    leaves: Sequence[Tensor],
    dt: Tensor,
    weights: Sequence[float],
    stages: Sequence[Sequence[Tensor]],
) -> list[Tensor]:
    """Return the leaves moved by `dt` along a weighted sum of the slopes of the stages."""
    moved = []
    for place, leaf in enumerate(leaves):
        slopes = [stage[place] for stage in stages]
        slope = _weighted_sum(weights, slopes, leaf)
        step = dt
        if dt.dim() not in {0, leaf.dim()}:
            step = dt.reshape(-1, *[1] * (leaf.dim() - 1))
        moved.append(leaf + step * slope)
    return moved


def _weighted_sum(
    weights: Sequence[float],
    stages: Sequence[Tensor],
    like: Tensor,
) -> Tensor:
    total = torch.zeros_like(like)
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = total + weight * stage
    return total
