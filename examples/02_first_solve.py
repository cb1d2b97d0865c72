"""A loop of one's own, run ahead: a relaxation that takes 300 steps."""

import torch

from forerun import Absolute, Bar, Process, Sequential, Sliding, solve

torch.manual_seed(0)
weight = torch.randn(32, 32) / 8


def step(i, x):
    """One step, written for one state; `solve` takes many at once."""
    return x + 0.02 * (torch.tanh(weight @ x) - 0.1 * x)


process = Process.from_step(step, length=300, increment=True)
start = torch.randn(32)

solution = solve(process, start, window=Sliding(100), tolerance=Absolute(1e-4), progress=Bar())
print(solution)

truth = solve(process, start, method=Sequential())
print(f"true deviation: {(solution.state - truth.state).square().mean().sqrt():.1e}")
