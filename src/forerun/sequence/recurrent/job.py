"""A recurrence to be solved: its process, the Jacobians that fit its memory, and the gradient of its path."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.guesses import Probe
from forerun.engine.methods import Boxed, Method, Newton
from forerun.engine.numerics.tree import Tree, tree_tensors
from forerun.engine.options import SolveOptions
from forerun.engine.solution import Solution
from forerun.engine.solve import solve
from forerun.engine.tolerance import Relative
from forerun.engine.windows import Full, Sliding, Window
from forerun.sequence.recurrent.cells import Cell
from forerun.sequence.recurrent.recurrence import Recurrence, carry_gradient, detach_tree, slice_steps

SCAN_TOLERANCE_ROUNDINGS = 64  # of the dtype, of the size of a state: the default tolerance
SMALLEST_SHARE = 1 / 16  # of the size of the first states, below which states are measured by that: they may pass zero
JACOBIAN_COPIES = 6  # times the Jacobians of a window, that a round of Newton holds at once


@dataclass(frozen=True)
class RecurrenceJob:
    """A recurrence to be solved.

    Attributes:
        cell: its step.
        start: rows of the first state, `(B, D)`.
        prepared: what the cell made of the inputs, `(T, B, ...)`.
        length: `T`.
        max_bytes: what Jacobians may take.
        closes_over_gradients: whether the cell itself depends on something that requires a gradient.
        smallest_start: size of the first states, of the smallest sample.
    """

    cell: Cell
    start: Tensor
    prepared: Tree
    length: int
    max_bytes: int
    closes_over_gradients: bool = False
    smallest_start: float = 1.0

    @property
    def process(self) -> Recurrence:
        """The recurrence without its gradient."""
        return Recurrence(self.cell, detach_tree(self.prepared), self.length)

    @property
    def max_width(self) -> int:
        """Steps whose Jacobians fit `max_bytes`; one at least."""
        return max(self.max_bytes // (JACOBIAN_COPIES * self._jacobian_bytes), 1)

    @property
    def needs_gradient(self) -> bool:
        """Whether the path will be differentiated."""
        if not torch.is_grad_enabled():
            return False
        leaves = [self.start, *tree_tensors(self.prepared)]
        return self.closes_over_gradients or any(leaf.requires_grad for leaf in leaves)

    @property
    def _jacobian_bytes(self) -> int:
        """Bytes of the Jacobian of a step."""
        return self.start.numel() * self.start.shape[-1] * self.start.element_size()

    def default_options(self, method: Method | None) -> SolveOptions:
        """Return what is chosen for a method where the caller left the choice."""
        window: Window = Full()
        if method in {None, Newton()} and self.max_width < self.length:
            window = Sliding(self.max_width)
        return SolveOptions(
            method=Newton(),
            window=window,
            tolerance=self.default_tolerance,
            guess=Probe(None),
        )

    @property
    def default_tolerance(self) -> Relative:
        """Roundings of the size of each state, or of a share of that of the first."""
        value = SCAN_TOLERANCE_ROUNDINGS * torch.finfo(self.start.dtype).eps
        return Relative(value, floor=value * SMALLEST_SHARE * self.smallest_start)

    def measures_by_size(self, options: SolveOptions) -> bool:
        """Return whether the tolerance is the default one."""
        return options.tolerance == self.default_tolerance

    def solve_path(self, options: SolveOptions) -> Solution:
        """Solve for the path, rows `(B, D)`, without its gradient.

        Raises:
            ValueError: `Newton()` cannot hold the Jacobian of a single step.
        """
        process = self.process
        if options.method == Newton():
            self._check_memory()
            options = replace(options, method=self._choose_newton(process))
        return solve(
            process,
            self.start.detach(),
            options=options,
            path=True,
            throw=False,
            leave_out=False,
        )

    def _choose_newton(self, process: Recurrence) -> Method:
        """Return Newton's method with the Jacobians of the cell, between the bounds of its states."""
        newton = Newton(process.evaluate_with_jacobian, max_bytes=self.max_bytes)
        bounds = self.cell.bound_states(self.start.detach())
        if bounds is None:
            return newton
        return Boxed(newton, *bounds)

    def differentiate_path(self, path: Tensor) -> Tensor:
        """Return the states `(T, B, D)` after the first of a path as a differentiable function of all they came from.

        Args:
            path: `(T + 1, B, D)`; or its beginning, where a run was stopped.
        """
        count = len(path) - 1
        prepared = slice_steps(self.prepared, 0, count)
        if not self.needs_gradient:
            return self.cell.step_rows(path[:count], prepared)
        later = path[1:-1].detach().requires_grad_()  # so that torch keeps, and guards, what the state is multiplied by
        before = torch.cat([self.start.unsqueeze(0), later])[:count]  # the first with its gradient
        stepped = self.cell.step_rows(before, prepared)
        fixed_rows = before.detach()

        @torch.no_grad()
        def compute_jacobian(first: int, stop: int) -> tuple[Tensor, Tensor]:
            inputs = detach_tree(slice_steps(prepared, first, stop))
            return self.cell.step_with_jacobian(fixed_rows[first:stop], inputs)

        return carry_gradient(stepped, compute_jacobian, self.max_width)

    def _check_memory(self) -> None:
        """Refuse Jacobians of which not even one fits."""
        if self._jacobian_bytes <= self.max_bytes:
            return
        width = self.start.shape[-1]
        raise ValueError(
            f"Newton() needs the Jacobian of a step, {width} x {width} numbers for {len(self.start)} samples, "
            f"{self._jacobian_bytes / 2**30:.3g} GiB, but max_bytes allows {self.max_bytes / 2**30:.3g} GiB; use "
            "method=QuasiNewton() for its diagonal, or fewer samples at a time"
        )
