"""Whole runs of solve, over all ranks and on one alone; started by torchrun."""

import torch
import torch.distributed as dist
from report import RANK, caught, digest, gathers, write

from forerun.engine.backends import Distributed, Local, RankFailed, RanksDisagree
from forerun.engine.methods import Jacobi, Picard, Secant, Sequential
from forerun.engine.process import Process
from forerun.engine.solve import solve
from forerun.engine.tolerance import Absolute
from forerun.engine.windows import Auto, Density, Full, Sliding

SPARSE = Density((3, 6), min_dense=4, opening=0)


def logistic(step, x):
    """Elementwise, of exact operations: the same bits whatever the batch."""
    return x + 0.03125 * x * (1 - x)


def rotation(step, x):
    weight = torch.linspace(-0.5, 0.5, 36, dtype=x.dtype).reshape(6, 6)
    return x + 0.05 * torch.tanh(x @ (weight - weight.T))


def run(step, backend, length=60, seed=0, **options):
    start = torch.rand(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    process = Process.from_step(step, length, increment=True, batch_dims=1)
    return solve(process, start, tolerance=Absolute(1e-6), backend=backend, **options)


def told(solution, gathered):
    timings = [[entry.timing.evaluate, entry.timing.communicate, entry.timing.overhead] for entry in solution.log]
    return {
        "state": digest(solution.state),
        "windows": [[entry.start, entry.stop, entry.accepted] for entry in solution.log],
        "timings": timings,
        "status": solution.status.name,
        "deviation": solution.deviation_estimate,
        "rounds": solution.rounds,
        "evaluations": solution.evaluations,
        "gathers": gathered,
    }


def compared(step, **options):
    before = gathers[0]
    far = run(step, Distributed(), **options)
    spread = told(far, gathers[0] - before)
    near = run(step, Local(), **options)
    distance = float((far.state - near.state).abs().max())
    return {"spread": spread, "local": told(near, 0), "distance": distance}


def failing():
    def broken(step, x):
        if RANK == 1 and step.numel() > 2:
            raise RuntimeError("CUDA out of memory, or so")
        return x + 0.03125 * x * (1 - x)

    start = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    process = Process.from_step(broken, 60, batched=True)
    return caught(lambda: solve(process, start, window=Sliding(12), backend=Distributed()), RankFailed)


def seeded():
    return caught(lambda: run(logistic, Distributed(), seed=RANK), RanksDisagree)


write(
    sliding=compared(logistic, window=Sliding(7)),
    full=compared(logistic, window=Full(), method=Picard()),
    jacobi=compared(logistic, window=Sliding(2), method=Jacobi()),
    sequential=compared(logistic, length=12, method=Sequential()),
    auto=compared(logistic, window=Auto(), length=300),
    sparse=compared(logistic, window=Sliding(40, SPARSE), method=Picard()),
    matmul=compared(rotation, window=Sliding(16), method=Secant()),
    failing=failing(),
    seeded=seeded(),
)
dist.destroy_process_group()
