"""A training loop ahead of itself: the same optimiser, the same answer, fewer rounds of gradients."""

import torch
from torch import nn
from torch.nn import functional

from forerun import Absolute
from forerun.optim import Loop, OneByOne, Vmapped, seeded

STEPS = 200
torch.set_num_threads(1)
torch.manual_seed(0)
xs = torch.linspace(-3, 3, 256).unsqueeze(1)
ys = torch.sin(2 * xs) + 0.1 * torch.randn_like(xs)


def build_network():
    """Return an untrained network, always the same."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))


def draw_batch(step):
    """Draw a batch with the step's seed: the same whenever this step is evaluated."""
    rows = torch.randint(len(xs), (64,))
    return xs[rows], ys[rows]


def loss(model, step, data):
    """Return the loss of the step's batch, at the parameters inside the model that is handed in."""
    return functional.mse_loss(model(data[0]), data[1])


# the loop that everybody writes
plain = build_network()
optimizer = torch.optim.Adam(plain.parameters(), 3e-3)
for step in range(STEPS):
    optimizer.zero_grad()
    with seeded(0, step):
        loss(plain, step, draw_batch(step)).backward()
    optimizer.step()

# the same with a tolerance of nothing: the same bits, from fewer rounds
exact = build_network()
loop = Loop(
    exact,
    torch.optim.Adam(exact.parameters(), 3e-3),
    loss,
    data=draw_batch,
    gradients=OneByOne(),
    window=8,
    tolerance=Absolute(0.0),
)
solution = loop.run(STEPS).solution()
equal = all(torch.equal(a, b) for a, b in zip(plain.parameters(), exact.parameters(), strict=True))
print(f"{STEPS} steps in {solution.rounds} rounds, equal to the last bit: {equal}")

# run ahead, to a share of a step's length, the gradients of a window in one call
model = build_network()
loop = Loop(
    model,
    torch.optim.Adam(model.parameters(), 3e-3),
    loss,
    data=draw_batch,
    gradients=Vmapped(),
    window=8,
)
run = loop.run(STEPS)
for event in run:
    if event.step % 50 == 0:
        print(f"step {event.step}: loss {event.loss:.4f} at rate {event.rate}, in round {event.rounds}")
print(run.solution())
largest = max(float((a - b).detach().abs().max()) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
print(f"largest difference of a parameter from the plain loop's: {largest:.1e}")
