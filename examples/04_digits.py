"""Handwritten digits by 100 steps of DDIM, computed in a fraction of the rounds."""

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
deviation = (ahead.value - truth.value).square().mean(-1).sqrt().max()
print(f"true deviation {deviation:.1e}")


def draw_line(pixels):
    """Draw a line of pixels in [-1, 1] with six characters, from light to dark."""
    shades = ((pixels.clamp(-1, 0.99) + 1) * 2.99).int().tolist()
    return "".join(2 * " .:+#@"[shade] for shade in shades)


for row in ahead.value.reshape(4, 8, 8).transpose(0, 1):
    print("   ".join(draw_line(digit) for digit in row))
