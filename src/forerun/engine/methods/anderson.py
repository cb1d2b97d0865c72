"""Anderson: the last rounds mixed, triangular and masked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.methods.base import Method, WindowState, WindowUpdate
from forerun.engine.methods.evaluations import Evaluate
from forerun.engine.methods.picard import Picard

MAX_COEFFICIENT_SUM = 1e3  # sum of the sizes of coefficients beyond which a mixture is not trusted


@dataclass(frozen=True)
class Anderson(Method):
    """Another method's path, mixed with its last rounds for the inputs to evaluate next.

        gamma_i = argmin |R_{<=i} - dR_{<=i} gamma|^2 + regularization |gamma|^2,    R = v - u
        next u_i = v_i - (dU_i + dR_i) gamma_i

    with `u` the inputs evaluated, `v` those of the method's path, and `d` their differences over the last rounds.
    Triangular: the coefficients of a step come from the steps up to it, as only these act on it (ParaTAA, Tang et
    al., arXiv 2402.09970). Masked: a step knows no round before it entered, or was filled again.
    Safeguarded: only inputs to evaluate are mixed, never what is accepted; and where the mixture is not finite or
    wild, the plain input stays.

    Args:
        method: whose rounds are mixed.
        memory: differences that are kept.
        regularization: relative to the mean diagonal of the normal matrix.
    """

    method: Method = Picard()
    memory: int = 3
    regularization: float = 1e-3

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"Anderson(memory={self.memory}) has nothing to mix; pass 1 or more")

    def iterate(self, window_state: WindowState, evaluate: Evaluate) -> WindowUpdate:
        records: tuple[RoundRecord, ...] = ()
        inner_memory = None
        if window_state.memory is not None:
            records, inner_memory = window_state.memory
        update = self.method.iterate(replace(window_state, memory=inner_memory), evaluate)
        guesses = update.inputs.clone()
        if records:
            differences = RoundDifferences.from_records(window_state, update.moves, records)
            guesses[:-1] = self._mix_inputs(update, differences)
        newest = RoundRecord(
            window_state.start,
            window_state.inputs,
            update.moves,
            guesses,
        )
        records = (newest, *records)[: self.memory]
        return replace(update, guesses=guesses, memory=(records, update.memory))

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)

    def _mix_inputs(self, update: WindowUpdate, differences: RoundDifferences) -> Tensor:
        """Return the mixed inputs `(W, *batch, D)`; the plain ones where the mixture is not to be trusted."""
        dU, dR = differences.inputs, differences.moves
        R = update.moves.nan_to_num(0.0, 0.0, 0.0)
        normal = (dR @ dR.mT).cumsum(0)
        right = (dR @ R.unsqueeze(-1)).cumsum(0)
        scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        eye = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
        weight = torch.where(scale > 0, self.regularization * scale, 1.0)
        gamma, _ = torch.linalg.solve_ex(normal + weight * eye, right)
        plain = update.inputs[:-1]
        mixed = plain - (gamma.mT @ (dU + dR)).squeeze(-2)
        is_bounded = gamma.abs().sum((-2, -1)) <= MAX_COEFFICIENT_SUM
        is_trusted = is_bounded & mixed.isfinite().all(-1)
        return torch.where(is_trusted.unsqueeze(-1), mixed, plain)


@dataclass(frozen=True)
class RoundRecord:
    """A round as Anderson remembers it.

    Attributes:
        start: the first step of its window.
        inputs: `(W, *batch, D)`, as evaluated.
        moves: `(W, *batch, D)`, how far they moved.
        guesses: `(W + 1, *batch, D)`, the inputs handed out to be evaluated next.
    """

    start: int
    inputs: Tensor
    moves: Tensor
    guesses: Tensor

    def align_to(self, window_state: WindowState) -> RoundRecord:
        """Return the rows of the steps of a window, zero where this round had none."""
        offset = window_state.start - self.start
        count = len(window_state.inputs)
        return RoundRecord(
            start=window_state.start,
            inputs=_fit_rows(self.inputs, offset, count),
            moves=_fit_rows(self.moves, offset, count),
            guesses=_fit_rows(self.guesses, offset, count),
        )

    def covers(self, window_state: WindowState) -> Tensor:
        """Return which steps of a window were in this round, bool `(W,)`."""
        device = self.inputs.device
        count = len(self.inputs) - (window_state.start - self.start)
        return torch.arange(len(window_state.inputs), device=device) < count


@dataclass(frozen=True)
class RoundDifferences:
    """Differences of successive rounds, `(W, *batch, m, D)`, the newest first; zero where a step has no such round."""

    inputs: Tensor
    moves: Tensor

    @classmethod
    def from_records(
        cls,
        window_state: WindowState,
        moves: Tensor,
        records: tuple[RoundRecord, ...],
    ) -> RoundDifferences:
        """Return the differences between this round and those before it, the newest of them first."""
        newer_inputs, newer_moves = window_state.inputs, moves
        continued = torch.ones_like(newer_inputs[..., :1], dtype=torch.bool)
        input_columns, move_columns = [], []
        for record in records:
            older = record.align_to(window_state)
            # a slot that was filled again does not hold what was handed out for it
            continued = continued & (newer_inputs == older.guesses).all(-1, keepdim=True)
            continued = continued & record.covers(window_state).reshape(-1, *[1] * (continued.dim() - 1))
            dU = newer_inputs - older.inputs
            dR = newer_moves - older.moves
            usable = continued & dU.isfinite().all(-1, keepdim=True) & dR.isfinite().all(-1, keepdim=True)
            input_columns.append(torch.where(usable, dU, 0.0))
            move_columns.append(torch.where(usable, dR, 0.0))
            newer_inputs, newer_moves = older.inputs, older.moves
        return cls(
            torch.stack(input_columns, -2),
            torch.stack(move_columns, -2),
        )


def _fit_rows(rows: Tensor, offset: int, count: int) -> Tensor:
    """Return `count` rows from `offset` on, padded with zeros at the end."""
    available = rows[offset:][:count]
    padding = available.new_zeros((count - len(available), *available.shape[1:]))
    return torch.cat([available, padding])
