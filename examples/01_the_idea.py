"""The whole idea in plain torch, without the library.

A sampler walks from noise to `data` in 100 steps. Each step asks a costly denoiser and then moves a little.
Every step needs the one before it, so they are taken one by one. Here they are taken together.
"""

import torch

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
length, tolerance = 100, 1e-6
data = torch.randn(50, 2)
sigma = torch.logspace(1, -2, length + 1)  # the noise level before every step, and after the last
start = sigma[0] * torch.randn(2)


def evaluate(steps, inputs):
    """Costly, and happy to take many steps in one batch: the mean of the data, seen through the noise."""
    distance = torch.cdist(inputs, data) / sigma[steps, None]
    return torch.softmax(-distance.square() / 2, dim=-1) @ data


def advance(step, state, output):
    """Cheap, and taken in order: keep as much of the noise as the next level has."""
    return output + sigma[step + 1] / sigma[step] * (state - output)


def secant(rise, run):
    """How an output follows its input, from two evaluations: one number per step."""
    return (rise * run).sum(-1, keepdim=True) / run.square().sum(-1, keepdim=True).clamp(min=1e-30)


# In order: a call of the denoiser for every step.
sequential = start
for i in range(length):
    sequential = advance(i, sequential, evaluate(torch.tensor([i]), sequential[None])[0])

# Ahead: guess the input of every step, evaluate all of them in one call, sweep, until nothing moves.
inputs = start.expand(length, 2)
outputs = moved = torch.zeros(length, 2)
for rounds in range(1, length + 1):
    before, outputs = outputs, evaluate(torch.arange(length), inputs)
    slope = secant(outputs - before, moved)
    path = [start]
    for i in range(length):  # the sweep: no denoiser in here
        path.append(advance(i, path[i], outputs[i] + slope[i] * (path[i] - inputs[i])))
    moved = torch.stack(path[:-1]) - inputs
    inputs = inputs + moved
    if moved.abs().max() <= tolerance:
        break

deviation = (path[-1] - sequential).abs().max()
print(f"{length} steps in {rounds} rounds; deviation from the sequential run: {deviation:.1e}")
