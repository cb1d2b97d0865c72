"""Optimiser loops, run ahead of themselves: any optimiser of torch, unmodified, its gradients many steps at a time."""

from forerun.optim.barriers import Barriers
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.gradients import Batched, Gradients, OneByOne, Vmapped
from forerun.optim.loop import Loop
from forerun.optim.preflight import AutoGradients
from forerun.optim.running import LoopRun
from forerun.optim.seeding import seeded
from forerun.optim.tolerance import StepLength
from forerun.optim.training import Training

__all__ = [
    "AcceptedStep",
    "AutoGradients",
    "Barriers",
    "Batched",
    "Gradients",
    "Loop",
    "LoopRun",
    "OneByOne",
    "SaveEvery",
    "StepLength",
    "Training",
    "Vmapped",
    "seeded",
]
