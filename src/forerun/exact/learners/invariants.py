"""Propositions about machines: proven by ideals, checked in all states, or refuted by a counterexample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack, final

import torch
from torch import Tensor

from forerun.engine.fixed_point import fixed_point
from forerun.engine.limit_methods import Plain
from forerun.engine.map import Map
from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.exact.exact_libraries import load_sympy
from forerun.exact.learners.machines import MooreMachine


@dataclass(frozen=True)
class InvariantCheck:
    """What is known of a proposition: whether a machine that is in it stays in it.

    Attributes:
        proven: whether it is proven for all states and inputs.
        counterexample: state, input and next state, the last outside; None where none was found.
        attempts: how many moves were tried.
    """

    proven: bool
    counterexample: tuple[Any, Any, Any] | None
    attempts: int

    @property
    def value(self) -> bool | None:
        """True where it is proven, False where it is refuted, None where neither is known."""
        if self.counterexample is not None:
            return False
        return True if self.proven else None

    def __str__(self) -> str:
        if self.counterexample is not None:
            state, value, after = self.counterexample
            return f"refuted: from {state} the input {value} leads to {after}"
        return "proven" if self.proven else f"not refuted in {self.attempts} moves, and not proven"


def search_violation(
    machine: MooreMachine, proposition: Callable[[Any], bool], moves: Iterable[tuple[Any, Any]]
) -> InvariantCheck:
    """Search moves that leave a proposition.

    Args:
        machine: whose states are meant.
        proposition: takes a state to True inside.
        moves: pairs of a state and an input; states outside are passed over. A generator of random ones, or all there
            are: what is not refuted is never called proven here.
    """
    attempts = 0
    for state, value in moves:
        if not proposition(state):
            continue
        attempts += 1
        after = machine.move(state, value)
        if not proposition(after):
            return InvariantCheck(False, (state, value, after), attempts)
    return InvariantCheck(False, None, attempts)


def prove_invariant(
    update: Mapping[Any, Any],
    equations: Sequence[Any],
) -> InvariantCheck:
    """Prove that the solutions of polynomial equations stay solutions under a rational update.

    Each equation at the new state, as a numerator, must lie in the ideal of the equations at the old one: a Groebner
    basis reduces it to zero. Inputs are further symbols. Where it does not, nothing is known: search a violation.

    Args:
        update: sympy expressions of the new state by the symbols of the old one; denominators are taken not to vanish.
        equations: sympy expressions that are zero in the proposition, such as `[x + y - 1]`.

    Raises:
        ValueError: there are no equations, or they are not polynomials.
        ImportError: sympy is not installed.
    """
    sympy = load_sympy()
    if not equations:
        raise ValueError("there are no equations, which every state solves; pass such as [x + y - 1]")
    symbols = sorted(set().union(*(sympy.sympify(e).free_symbols for e in [*equations, *update.values()])), key=str)
    if not all(sympy.sympify(equation).is_polynomial(*symbols) for equation in equations):
        raise ValueError(f"equations must be polynomials in {symbols}, got {list(equations)}; multiply by denominators")
    basis = sympy.groebner(equations, *symbols, order="grevlex")
    for equation in equations:
        moved_equation = sympy.sympify(equation).subs(update, simultaneous=True)
        numerator = sympy.fraction(sympy.together(moved_equation))[0]
        if basis.reduce(sympy.expand(numerator))[1] != 0:
            return InvariantCheck(False, None, 0)
    return InvariantCheck(True, None, 0)


def mirror_descent(count: int) -> tuple[dict[Any, Any], list[Any]]:
    """Return multiplicative weights as a rational update of symbols, and the equation of the simplex: an example.

    x_i <- x_i u_i / sum_j x_j u_j, with inputs u_j
    """
    sympy = load_sympy()
    x, u = sympy.symbols(f"x1:{count + 1}"), sympy.symbols(f"u1:{count + 1}")
    total = sum(a * b for a, b in zip(x, u, strict=True))
    return {a: a * b / total for a, b in zip(x, u, strict=True)}, [sum(x) - 1]


@final
@dataclass(frozen=True)
class FiniteMachine:
    """A machine of finitely many states and inputs.

    Attributes:
        transitions: int64 `(N, M)`, the state that a state goes to by an input.
    """

    transitions: Tensor

    def __post_init__(self) -> None:
        table = self.transitions
        if table.dim() != 2 or table.dtype != torch.int64:
            raise ValueError(
                f"transitions must be int64 (states, inputs), got {table.dtype} {list(table.shape)}; write .long()"
            )
        if table.numel() and not (int(table.min()) >= 0 and int(table.max()) < len(table)):
            raise ValueError(
                f"transitions lead from {int(table.min())} to {int(table.max())}, but there are states 0 to "
                f"{len(table) - 1}; add a state for what is outside, that leads to itself"
            )

    @classmethod
    def from_machine(
        cls,
        machine: MooreMachine,
        states: Sequence[Any],
        inputs: Sequence[Any],
    ) -> FiniteMachine:
        """Return the table of a machine; states that are not listed are the last one, which leads to itself."""
        places = {state: place for place, state in enumerate(states)}
        outside = len(states)
        rows = [[places.get(machine.move(state, value), outside) for value in inputs] for state in states]
        return cls(torch.tensor([*rows, [outside] * len(inputs)]))


@final
class InvariantMap(Map):
    """One round of what stays safe: states inside that no input leads outside; its limit is a sub-coalgebra."""

    def __init__(self, machine: FiniteMachine) -> None:
        self.transitions = machine.transitions

    def evaluate(self, state: Tree) -> Tree:
        return torch.minimum(state, state[self.transitions].amin(1))


@dataclass(frozen=True)
class SafeStates:
    """The largest proposition inside another one that a machine does not leave.

    Attributes:
        safe: bool `(N,)`.
        leaving: int64 `(N,)`, the number of inputs that can lead outside; 0 outside, and -1 where none can.
        rounds: evaluations of the map.
        limit: how it was found.
    """

    safe: Tensor
    leaving: Tensor
    rounds: int
    limit: Limit

    @property
    def value(self) -> Tensor:
        """The safe states."""
        return self.safe


def find_safe_states(
    machine: FiniteMachine,
    proposition: Tensor,
    *,
    options: LimitOptions | None = None,
    **keywords: Unpack[LimitKeywords],
) -> SafeStates:
    """Find the largest invariant inside a proposition, as the greatest fixed point of a monotone map; exact.

    Args:
        machine: of N states.
        proposition: bool `(N,)`.
        options: how the limit is searched; the plain iteration by default, which ends after finitely many rounds.
        keywords: the options one by one.

    Raises:
        ValueError: the proposition has another length, or is not of truth values.
    """
    if proposition.shape != machine.transitions.shape[:1] or proposition.dtype != torch.bool:
        raise ValueError(
            f"the proposition must be bool ({len(machine.transitions)},), got {proposition.dtype} "
            f"{list(proposition.shape)}; write torch.tensor([...], dtype=torch.bool)"
        )
    settings = LimitOptions.gather(options, keywords).over(LimitOptions(method=Plain(), tolerance=0.0))
    rounds = InvariantMap(machine)
    limit = fixed_point(rounds, proposition.double(), options=settings)
    leaving = torch.full((len(proposition),), -1)
    state = proposition.double()
    for count in range(limit.evaluations + 1):
        leaving[(state == 0) & (leaving < 0)] = count
        state = rounds.evaluate(state)
    return SafeStates(limit.state > 0, leaving, limit.evaluations, limit)
