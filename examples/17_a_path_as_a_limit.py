"""Diffusion as an iterated operator: a path of 40 steps is the limit of its Picard sweep, every step at once.

python examples/17_a_path_as_a_limit.py
"""

import itertools

import torch

import forerun
from forerun.limits import AndersonMixing, Plain

torch.manual_seed(0)

levels = torch.linspace(2.0, 0.02, 41, dtype=torch.float64)  # standard deviations of the noise
centres = torch.tensor([-1.0, 1.0], dtype=torch.float64)
start = 2.0 * torch.randn(16, dtype=torch.float64)


def denoise(x, sigma):
    """Return the mean of the clean value, for two points in noise."""
    weights = torch.softmax(-((x[..., None] - centres) ** 2) / (2 * sigma[..., None] ** 2), -1)
    return (weights * centres).sum(-1)


def sweep(path):
    """Return the path `(40, 16)` that the slopes along a path lead to."""
    before = torch.cat([start[None], path[:-1]])
    slopes = (before - denoise(before, levels[:-1, None])) / levels[:-1, None]
    return start + torch.cumsum(slopes * (levels[1:] - levels[:-1])[:, None], 0)


x = start
for level, following in itertools.pairwise(levels):
    x = x + (following - level) * (x - denoise(x, level)) / level
for method in (Plain(), AndersonMixing(8)):
    path = forerun.fixed_point(sweep, start.expand(40, 16), method=method, tolerance=1e-8)
    distance = float((path.value[-1] - x).abs().max())
    print(f"{method}: {path.evaluations} sweeps for 40 steps, {distance:.1e} from the loop")
