"""Optimiser loops, run ahead of themselves: any optimiser of torch, unmodified, its gradients many steps at a time."""

from forerun.optim.barriers import Barriers
from forerun.optim.events import Accepted, Every
from forerun.optim.gradients import Batched, Gradients, OneByOne, Vmapped
from forerun.optim.loop import Loop
from forerun.optim.preflight import Suited
from forerun.optim.running import Running
from forerun.optim.seeding import seeded
from forerun.optim.tolerance import StepLength
from forerun.optim.training import Training

__all__ = [
    "Accepted",
    "Barriers",
    "Batched",
    "Every",
    "Gradients",
    "Loop",
    "OneByOne",
    "Running",
    "StepLength",
    "Suited",
    "Training",
    "Vmapped",
    "seeded",
]
