"""One rank dies, hangs, is interrupted or leaves in the middle of a run; started by torchrun."""

import os
import signal
import sys
import time

import torch
from report import RANK, WORLD, caught, write

from forerun.engine.backends import Distributed, RankLost


def fate():
    """What becomes of the last rank."""
    match sys.argv[2]:
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hangs":
            time.sleep(60)
        case "is interrupted":
            raise KeyboardInterrupt
        case "leaves":
            sys.exit()


def call(steps, rows):
    if RANK == WORLD - 1 and steps[0] > 10:
        fate()
    return rows


def rounds():
    backend = Distributed(timeout=float(sys.argv[3]))
    for start in range(5):
        backend.evaluate(call, torch.arange(start, start + 7), torch.ones(7, 4), 0.0)
    reached.append(time.monotonic())
    backend.evaluate(call, torch.arange(20, 27), torch.ones(7, 4), 0.0)


reached: list[float] = []
error = caught(rounds, RankLost)
write(error=error, seconds=time.monotonic() - reached[0])
os._exit(1)  # the group is broken: nothing to tidy up
