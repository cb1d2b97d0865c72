"""What stands in a slot before its step was ever evaluated."""

from forerun.engine.guesses.guess import Copy, Edge, Extrapolate, Guess, Hold, Known, Probe, sweep_on

__all__ = ["Copy", "Edge", "Extrapolate", "Guess", "Hold", "Known", "Probe", "sweep_on"]
