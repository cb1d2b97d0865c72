"""Optimiser loops, run ahead of themselves: any optimiser of torch, unmodified, its gradients many steps at a time."""

from forerun.optim.auto_gradients import AutoGradients
from forerun.optim.barriers import Barriers
from forerun.optim.events import AcceptedStep, SaveEvery
from forerun.optim.gradients import Batched, Gradients, OneByOne, Vmapped
from forerun.optim.loop import Loop
from forerun.optim.loop_run import LoopRun
from forerun.optim.loop_solution import LoopSolution
from forerun.optim.nn import Snake
from forerun.optim.quantization import load_quantized, quantize
from forerun.optim.schedule_free import ScheduleFree, WrongParameters
from forerun.optim.seeding import seeded
from forerun.optim.tolerance import StepLength
from forerun.optim.training import Training
from forerun.optim.zeroth_order import ZerothOrder

__all__ = [
    "AcceptedStep",
    "AutoGradients",
    "Barriers",
    "Batched",
    "Gradients",
    "Loop",
    "LoopRun",
    "LoopSolution",
    "OneByOne",
    "SaveEvery",
    "ScheduleFree",
    "Snake",
    "StepLength",
    "Training",
    "Vmapped",
    "WrongParameters",
    "ZerothOrder",
    "load_quantized",
    "quantize",
    "seeded",
]
