"""The options of a fixed point: one object, with the same names and short forms at every front door of limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from forerun.engine.backends import Backend, Local
from forerun.engine.certificates import Certificate, Cycle, Displacement, MeasuredRate
from forerun.engine.limit_methods import AutoMixing, LimitMethod
from forerun.engine.option_kinds import OptionKind, gather_options, merge_options, refuse_wrong_kinds
from forerun.engine.progress import Progress, Silent
from forerun.engine.safeguards import Safeguard
from forerun.engine.search.event import LimitEvent, ignore_limit_event
from forerun.engine.tolerance import Absolute, Moving, PerStep, Relative, Tolerance

LimitCallback = Callable[[LimitEvent], Any]

DEFAULT_LIMIT_TOLERANCE = 1e-6
DEFAULT_MAX_EVALUATIONS = 10_000

LIMIT_OPTION_KINDS: Mapping[str, OptionKind] = {
    "method": OptionKind((LimitMethod,), "a LimitMethod", "forerun.limits.AndersonMixing(5)"),
    "tolerance": OptionKind(
        (Tolerance, float, int), "a Tolerance or a number", "1e-6, or tolerance=forerun.Absolute(1e-6)"
    ),
    "certificate": OptionKind((Certificate, tuple, list), "a Certificate or several", "forerun.limits.Banach(0.9)"),
    "safeguard": OptionKind((Safeguard,), "a Safeguard", "forerun.limits.Bounded(2.0)"),
    "progress": OptionKind((Progress,), "a Progress", "forerun.Bar()"),
    "backend": OptionKind((Backend,), "a Backend", "forerun.Local()"),
    "max_evaluations": OptionKind((int,), "a whole number", "1000"),
    "repeatable": OptionKind((bool,), "a bool", "False"),
}


class LimitKeywords(TypedDict, total=False):
    """The keywords that every front door of limits takes; `LimitOptions` says what they mean."""

    method: LimitMethod
    tolerance: Tolerance | float
    certificate: Certificate | Sequence[Certificate]
    safeguard: Safeguard
    backend: Backend
    progress: Progress
    callback: LimitCallback
    max_evaluations: int
    repeatable: bool


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What a caller wants of a limit; None leaves a choice to the front door.

    Every front door takes these as keywords, or whole as `options=LimitOptions(...)`; a keyword wins over the object.

    Args:
        method: how values become the next point.
        tolerance: how large the residual `T(x) - x` may be at the end. A number is short for `Absolute(number)`; left
            out, it is `Relative(1e-6)`.
        certificate: what is to be known of the error besides; one, or several.
        safeguard: which accelerated points are taken back; left out, `Monotone()` for a map with a merit and
            `Bounded()` for others.
        backend: where the map is evaluated.
        progress: what is shown meanwhile.
        callback: called with a `LimitEvent` after every evaluation; a true answer stops the run.
        max_evaluations: that are allowed.
        repeatable: the map gives the same value for the same state, which one more evaluation looks at. False for a map
            with noise.

    Raises:
        TypeError: an option is of the wrong kind, or unknown.
        ValueError: the tolerance is one for paths, or no evaluation is allowed.
    """

    method: LimitMethod | None = None
    tolerance: Tolerance | float | None = None
    certificate: Certificate | Sequence[Certificate] | None = None
    safeguard: Safeguard | None = None
    backend: Backend | None = None
    progress: Progress | None = None
    callback: LimitCallback | None = None
    max_evaluations: int | None = None
    repeatable: bool | None = None

    def __post_init__(self) -> None:
        refuse_wrong_kinds(self, LIMIT_OPTION_KINDS)
        for certificate in _list_certificates(self.certificate):
            if not isinstance(certificate, Certificate):
                raise TypeError(
                    f"certificate must hold Certificates, got {certificate!r}; write certificate=Banach(0.9)"
                )
        if isinstance(self.tolerance, PerStep | Moving):
            raise ValueError(
                f"tolerance={type(self.tolerance).__name__}(...) is one for the steps of a path, and a limit has none; "
                "pass Absolute(1e-6) or Relative(1e-6)"
            )
        if self.max_evaluations is not None and self.max_evaluations < 1:
            raise ValueError(f"max_evaluations={self.max_evaluations} allows none; pass 1 or more")

    @classmethod
    def gather(cls, options: LimitOptions | None, keywords: Mapping[str, Any]) -> LimitOptions:
        """Return one object for `options=` and the keywords of a front door.

        Raises:
            TypeError: a keyword is not an option, or of the wrong kind.
        """
        return gather_options(cls, options, keywords, "tolerance=1e-6")

    def over(self, defaults: LimitOptions) -> LimitOptions:
        """Return these options where they are set, and the defaults where they are None."""
        return merge_options(self, defaults)

    def settled(self) -> LimitSettings:
        """Return the settings that these options come to, with the choices of `fixed_point` where nothing is set."""
        return LimitSettings(
            method=self.method or AutoMixing(),
            tolerance=_settle_limit_tolerance(self.tolerance),
            certificates=_settle_certificates(self.certificate),
            safeguard=self.safeguard,
            backend=self.backend or Local(),
            progress=self.progress or Silent(),
            callback=self.callback or ignore_limit_event,
            max_evaluations=self.max_evaluations or DEFAULT_MAX_EVALUATIONS,
            repeatable=self.repeatable is not False,
        )


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What a limit is searched with: `LimitOptions` with every choice made."""

    method: LimitMethod
    tolerance: Tolerance
    certificates: tuple[Certificate, ...]
    safeguard: Safeguard | None
    backend: Backend
    progress: Progress
    callback: LimitCallback
    max_evaluations: int
    repeatable: bool


def _settle_limit_tolerance(value: Tolerance | float | None) -> Tolerance:
    if value is None:
        return Relative(DEFAULT_LIMIT_TOLERANCE)
    if isinstance(value, Tolerance):
        return value
    return Absolute(value)


def _list_certificates(certificate: Certificate | Sequence[Certificate] | None) -> tuple[Certificate, ...]:
    if certificate is None:
        return ()
    if isinstance(certificate, Certificate):
        return (certificate,)
    return tuple(certificate)


def _settle_certificates(certificate: Certificate | Sequence[Certificate] | None) -> tuple[Certificate, ...]:
    """Return the certificates that were asked for, and those that cost nothing."""
    certificates = list(_list_certificates(certificate))
    for default in (MeasuredRate(), Cycle(), Displacement()):
        if not any(isinstance(entry, type(default)) for entry in certificates):
            certificates.append(default)
    return tuple(certificates)
