"""What stands in a slot before its step was ever evaluated."""

from forerun.engine.guesses.guess import Copy, Extrapolate, Guess, Hold, Known, KnownPrefix, Probe, sweep_on

__all__ = ["Copy", "Extrapolate", "Guess", "Hold", "Known", "KnownPrefix", "Probe", "sweep_on"]
