"""What stands in a slot before its step was ever evaluated."""

from forerun.engine.guesses.base import FilledSlots, Guess, KnownPrefix, sweep_on
from forerun.engine.guesses.copy import Copy
from forerun.engine.guesses.extrapolate import Extrapolate
from forerun.engine.guesses.hold import Hold
from forerun.engine.guesses.known import Known
from forerun.engine.guesses.probe import Probe
from forerun.engine.guesses.retraced import Retraced

__all__ = [
    "Copy",
    "Extrapolate",
    "FilledSlots",
    "Guess",
    "Hold",
    "Known",
    "KnownPrefix",
    "Probe",
    "Retraced",
    "sweep_on",
]
