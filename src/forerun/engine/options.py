"""The options of a solve: one object, with the same names and short forms at every front door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from forerun.engine.backends import Backend, Local
from forerun.engine.check import Check
from forerun.engine.event import RoundEvent
from forerun.engine.guesses import Guess, Hold
from forerun.engine.methods import Method, Secant
from forerun.engine.option_kinds import OptionKind, gather_options, merge_options, refuse_wrong_kinds
from forerun.engine.progress import Progress, Silent
from forerun.engine.tolerance import Absolute, Tolerance
from forerun.engine.windows import Auto, Sliding, Window
from forerun.engine.witness import Witness

Callback = Callable[[RoundEvent], Any]

DEFAULT_TOLERANCE = 1e-3

OPTION_KINDS: Mapping[str, OptionKind] = {
    "method": OptionKind((Method,), "a Method", "forerun.Secant()"),
    "window": OptionKind((Window, int), "a Window or a number of steps", "8, or window=forerun.Auto()"),
    "tolerance": OptionKind(
        (Tolerance, float, int), "a Tolerance or a number", "1e-3, or tolerance=forerun.Absolute(1e-3)"
    ),
    "check": OptionKind((bool, Check), "a Check or a bool", "True, or check=forerun.Check(retries=5)"),
    "guess": OptionKind((Guess,), "a Guess", "forerun.Hold()"),
    "backend": OptionKind((Backend,), "a Backend", "forerun.Local()"),
    "progress": OptionKind((Progress,), "a Progress", "forerun.Bar()"),
    "witness": OptionKind((bool, Witness), "a Witness or a bool", "True"),
    "strict": OptionKind((bool,), "a bool", "True"),
}


def ignore_event(event: RoundEvent) -> None:
    """Do nothing after a round: the callback of whoever passes none."""


class SolveKeywords(TypedDict, total=False):
    """The keywords that every front door takes; `SolveOptions` says what they mean."""

    method: Method
    window: Window | int
    tolerance: Tolerance | float
    check: Check | bool
    guess: Guess
    backend: Backend
    progress: Progress
    callback: Callback
    witness: Witness | bool
    strict: bool


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """What a caller wants of a solve; None leaves a choice to the front door.

    Every front door takes these as keywords, or whole as `options=SolveOptions(...)`; a keyword wins over the object.

    Args:
        method: how outputs become the next path.
        window: how many steps are in flight; a number is short for `Sliding(number)`.
        tolerance: how far a step's input may still move in the round that accepts it and, with `check`, how far the
            final state may be from the sequential run's. A number is measured in the unit of the front door:
            `Absolute(number)` for `solve`.
        check: estimate the deviation of the final state; go back, and on, until it is within the tolerance. `Check`
            has its settings; False leaves it out.
        guess: what stands in a slot before its first evaluation.
        backend: where rounds are evaluated.
        progress: what is shown meanwhile.
        callback: called with a `RoundEvent` after every round; a true answer stops the run.
        witness: call the user's own object, as the user would, on the first step, some drawn at random, and the last,
            and hold what it gives against the replica. `Witness` has the settings; False leaves it out, which the
            solution says.
        strict: raise where the replica cannot stand for the user's own object, instead of a warning and the plain loop.

    Raises:
        TypeError: an option is of the wrong kind, or unknown.
    """

    method: Method | None = None
    window: Window | int | None = None
    tolerance: Tolerance | float | None = None
    check: Check | bool | None = None
    guess: Guess | None = None
    backend: Backend | None = None
    progress: Progress | None = None
    callback: Callback | None = None
    witness: Witness | bool | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        refuse_wrong_kinds(self, OPTION_KINDS)

    @classmethod
    def gather(cls, options: SolveOptions | None, keywords: Mapping[str, Any]) -> SolveOptions:
        """Return one object for `options=` and the keywords of a front door.

        Raises:
            TypeError: a keyword is not an option, or of the wrong kind.
        """
        return gather_options(cls, options, keywords, "window=8")

    def over(self, defaults: SolveOptions) -> SolveOptions:
        """Return these options where they are set, and the defaults where they are None."""
        return merge_options(self, defaults)

    def settled(self, *, tolerance: Callable[[float], Tolerance] = Absolute) -> SolveSettings:
        """Return the settings that these options come to, with the choices of `solve` where nothing is set.

        Args:
            tolerance: what a plain number stands for, such as `lambda value: PerStep(value, levels)`.
        """
        return SolveSettings(
            method=self.method or Secant(),
            window=_settle_window(self.window),
            tolerance=_settle_tolerance(self.tolerance, tolerance),
            check=_settle_check(self.check),
            guess=self.guess or Hold(),
            backend=self.backend or Local(),
            progress=self.progress or Silent(),
            callback=self.callback or ignore_event,
            witness=_settle_witness(self.witness),
            strict=bool(self.strict),
        )


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """What a solve runs with: `SolveOptions` with every choice made."""

    method: Method
    window: Window
    tolerance: Tolerance
    check: Check | None
    guess: Guess
    backend: Backend
    progress: Progress
    callback: Callback
    witness: Witness | None
    strict: bool


def _settle_window(window: Window | int | None) -> Window:
    if window is None:
        return Auto()
    if isinstance(window, int):
        return Sliding(window)
    return window


def _settle_tolerance(value: Tolerance | float | None, unit: Callable[[float], Tolerance]) -> Tolerance:
    if value is None:
        return unit(DEFAULT_TOLERANCE)
    if isinstance(value, Tolerance):
        return value
    return unit(value)


def _settle_witness(witness: Witness | bool | None) -> Witness | None:
    if witness is None or witness is True:
        return Witness()
    if witness is False:
        return None
    return witness


def _settle_check(check: Check | bool | None) -> Check | None:
    if check is None or check is True:
        return Check()
    if check is False:
        return None
    return check
