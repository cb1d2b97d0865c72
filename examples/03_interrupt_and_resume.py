"""Nothing is lost: stop a run, keep its checkpoint in a file, go on later to the same answer."""

import tempfile
from pathlib import Path

import torch

from forerun import Absolute, Process, Sliding, solve

process = Process.from_step(lambda i, x: x + 0.05 * torch.sin(x + 0.1 * i), length=200, increment=True)
start = torch.linspace(-1, 1, 16, dtype=torch.float64)
options = {"window": Sliding(50), "tolerance": Absolute(1e-8)}

whole = solve(process, start, **options)
part = solve(process, start, callback=lambda event: event.step >= 100, **options)
print(f"{part.status.name} after {part.step} of {part.length} steps")

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "run.safetensors"
    part.checkpoint.save(file)
    rest = solve(process, start, resume=file, **options)
print(f"{rest.status.name}; differs from the run in one go by {(rest.state - whole.state).abs().max():.1e}")
