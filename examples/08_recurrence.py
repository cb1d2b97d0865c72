"""A GRU over 3000 steps, forward and backward, without a loop over them."""

import torch

from forerun import Newton
from forerun.sequence import scan

torch.set_num_threads(1)
torch.manual_seed(0)
cell = torch.nn.GRUCell(4, 8)
xs, h0 = torch.randn(3000, 1, 4), torch.zeros(1, 8)

h, states = h0, []
for x in xs:
    h = cell(x, h)
    states.append(h)
own = torch.stack(states)
weights = list(cell.parameters())
truth = torch.autograd.grad(own.square().mean(), weights)

found = scan(cell, h0, xs, method=Newton())  # without a method it chooses by a trial
ours = torch.autograd.grad(found.hidden.square().mean(), weights)

print(found)
print(f"largest difference of a state:    {(found.hidden - own).abs().max():.1e}")
print(f"largest difference of a gradient: {max((a - b).abs().max() for a, b in zip(ours, truth, strict=True)):.1e}")
