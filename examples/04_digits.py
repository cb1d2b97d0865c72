"""Handwritten digits by 100 steps of DDIM, in a fraction of the rounds."""

import torch

from forerun import Absolute, Sequential, Sliding, solve
from forerun.diffusion import Denoising, Schedule
from forerun.engine.guesses import Probe
from forerun.worlds.digits import load_digits_denoiser

torch.set_num_threads(1)
process = Denoising(load_digits_denoiser(), Schedule.linear().spaced(100))
noise = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))

ahead = solve(process, noise, window=Sliding(100), tolerance=Absolute(1e-3), guess=Probe(8))
truth = solve(process, noise, method=Sequential())
print(ahead)
print(f"true deviation {(ahead.state - truth.state).square().mean(-1).sqrt().max():.1e}")

for row in ahead.state.reshape(4, 8, 8).transpose(0, 1):
    lines = ("".join(" .:+#@"[int((pixel.item() + 1) * 2.99)] * 2 for pixel in digit.clamp(-1, 0.99)) for digit in row)
    print("   ".join(lines))
