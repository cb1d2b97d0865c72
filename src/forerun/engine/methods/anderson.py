"""Anderson: the last rounds mixed, triangular and masked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from forerun.engine.methods.base import Evaluate, Method, WindowState, WindowUpdate
from forerun.engine.methods.picard import Picard

LARGEST = 1e3  # sum of the sizes of coefficients beyond which a mixture is not trusted


@dataclass(frozen=True)
class Past:
    """A round as it is remembered: what was evaluated from step `start` on, how it moved, what was handed out next."""

    start: int
    inputs: Tensor  # (W, *batch, D)
    moves: Tensor
    handed: Tensor


@dataclass(frozen=True)
class Anderson(Method):
    """Another method's path, mixed with its last rounds for the inputs to evaluate next.

        gamma_i = argmin |R_{<=i} - dR_{<=i} gamma|^2 + regularization |gamma|^2,    R = v - u
        next u_i = v_i - (dU_i + dR_i) gamma_i

    with `u` the inputs evaluated, `v` those of the method's path, and `d` their differences over the last rounds.
    Triangular: the coefficients of a step come from the steps up to it, as only these act on it (ParaTAA, Tang et
    al., arXiv 2402.09970). Masked: a step knows no round before it entered, or was filled anew.
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

    def iterate(self, front: WindowState, evaluate: Evaluate) -> WindowUpdate:
        pasts, inner = ((), None) if front.memory is None else front.memory
        plain = self.method.iterate(replace(front, memory=inner), evaluate)
        guesses = plain.inputs.clone()
        changes = _changes(front, plain.moves, pasts)
        if changes is not None:
            guesses[:-1] = self._mixed(plain, *changes)
        newest = Past(front.start, front.inputs, plain.moves, guesses)
        return replace(plain, guesses=guesses, memory=((newest, *pasts)[: self.memory], plain.memory))

    def stop(self, start: int, stop: int) -> int:
        return self.method.stop(start, stop)

    def _mixed(self, plain: WindowUpdate, dU: Tensor, dR: Tensor) -> Tensor:
        """`(W, *batch, D)`, from differences `(W, *batch, m, D)`."""
        R = plain.moves.nan_to_num(0.0, 0.0, 0.0)
        normal = (dR @ dR.mT).cumsum(0)
        right = (dR @ R.unsqueeze(-1)).cumsum(0)
        scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        eye = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
        weight = torch.where(scale > 0, self.regularization * scale, 1.0)
        gamma, _ = torch.linalg.solve_ex(normal + weight * eye, right)
        mixed = plain.inputs[:-1] - (gamma.mT @ (dU + dR)).squeeze(-2)
        tame = (gamma.abs().sum((-2, -1)) <= LARGEST) & mixed.isfinite().all(-1)
        return torch.where(tame.unsqueeze(-1), mixed, plain.inputs[:-1])


def _changes(front: WindowState, moves: Tensor, pasts: tuple[Past, ...]) -> tuple[Tensor, Tensor] | None:
    """Differences of successive rounds `(W, *batch, m, D)`, the newest first, zero where a step has no such round."""
    rounds: list[tuple[Tensor, Tensor]] = [(front.inputs, moves)]
    known = torch.ones_like(front.inputs[..., :1], dtype=torch.bool)
    columns: list[tuple[Tensor, Tensor]] = []
    following = front.inputs
    for past in pasts:
        inputs, shift, handed = (_placed(rows, past.start, front) for rows in (past.inputs, past.moves, past.handed))
        # a slot that was filled anew does not hold what was handed out for it
        reach = torch.arange(len(known), device=known.device) < len(past.inputs) - (front.start - past.start)
        known = known & (following == handed).all(-1, keepdim=True) & reach.reshape(-1, *[1] * (known.dim() - 1))
        newer_inputs, newer_moves = rounds[-1]
        dU, dR = newer_inputs - inputs, newer_moves - shift
        finite = dU.isfinite().all(-1, keepdim=True) & dR.isfinite().all(-1, keepdim=True)
        columns.append((torch.where(known & finite, dU, 0.0), torch.where(known & finite, dR, 0.0)))
        rounds.append((inputs, shift))
        following = inputs
    if not columns:
        return None
    return torch.stack([u for u, _ in columns], -2), torch.stack([r for _, r in columns], -2)


def _placed(rows: Tensor, start: int, front: WindowState) -> Tensor:
    """Rows of the steps from `start` on, cut and padded to the steps of a front."""
    part = rows[front.start - start :][: len(front.inputs)]
    return torch.cat([part, part.new_zeros((len(front.inputs) - len(part), *part.shape[1:]))])
