"""LimitState: where a search for a fixed point stands, for the problems that go on and those that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.certificates import Knowledge
from forerun.engine.limit_methods.base import Memory, select_memory
from forerun.engine.search.ended import EndedProblems
from forerun.engine.search.monitor import Watch, begin_watch


@dataclass(frozen=True)
class LimitState:
    """All that moves from evaluation to evaluation; replaced as a whole, so that an interrupt finds it whole.

    Attributes:
        problems: that go on, int64 `(A,)`.
        points: to be evaluated next, `(A, D)`.
        is_trial: which of them are accelerated, `(A,)`.
        plain_values: to be evaluated in their place where the safeguard takes them back, `(A, D)`.
        last_measured: what the safeguard measured at the point before, `(A,)`.
        best_measured: the smallest of these so far, `(A,)`.
        method_memory: of the method.
        certificate_memories: of the certificates.
        watch: what the residuals have shown.
        rejections: accelerated points that were taken back, of each problem, int64 `(A,)`.
        ended: the problems that have ended.
        residuals: the largest of every evaluation.
        rejected: accelerated points that were taken back, of all problems.
        notes: what was found on the way; sentences.
    """

    problems: Tensor
    points: Tensor
    is_trial: Tensor
    plain_values: Tensor
    last_measured: Tensor
    best_measured: Tensor
    method_memory: Memory
    certificate_memories: tuple[Mapping[str, Tensor], ...]
    watch: Watch
    rejections: Tensor
    ended: EndedProblems
    residuals: tuple[float, ...] = ()
    rejected: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def begin(cls, points: Tensor, certificates: int) -> LimitState:
        """Return where a search begins, at points `(B, D)`, with a number of certificates."""
        count = len(points)
        return cls(
            problems=torch.arange(count, device=points.device),
            points=points,
            is_trial=torch.zeros(count, dtype=torch.bool, device=points.device),
            plain_values=points,
            last_measured=points.new_full((count,), float("inf")),
            best_measured=points.new_full((count,), float("inf")),
            method_memory={},
            certificate_memories=({},) * certificates,
            watch=begin_watch(points),
            rejections=torch.zeros(count, dtype=torch.int64, device=points.device),
            ended=EndedProblems.begin(points),
        )

    @property
    def iteration(self) -> int:
        """Points evaluated so far."""
        return len(self.residuals)

    def add_notes(self, knowledge: Sequence[Knowledge]) -> LimitState:
        """Return the state with the notes of certificates that it does not have yet."""
        notes = list(self.notes)
        for entry in knowledge:
            notes += [note for note in entry.notes if note not in notes]
        return self if len(notes) == len(self.notes) else replace(self, notes=tuple(notes))

    def without_memories(self, *, method: bool, certificates: int | None) -> LimitState:
        """Return the state without what a method remembers, and with nothing remembered by some certificates."""
        state = self
        if method:
            state = replace(state, method_memory={})
        if certificates is not None:
            state = replace(state, certificate_memories=({},) * certificates)
        return state

    def select(self, rows: Tensor) -> LimitState:
        """Return the state of the problems that go on."""
        return replace(
            self,
            problems=self.problems[rows],
            points=self.points[rows],
            is_trial=self.is_trial[rows],
            plain_values=self.plain_values[rows],
            last_measured=self.last_measured[rows],
            best_measured=self.best_measured[rows],
            method_memory=select_memory(self.method_memory, rows),
            certificate_memories=tuple(select_memory(memory, rows) for memory in self.certificate_memories),
            watch=select_memory(self.watch, rows),
            rejections=self.rejections[rows],
        )
