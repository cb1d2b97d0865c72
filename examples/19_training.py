"""A small classifier of one's own: trained without a horizon, then kept in 3 bits a weight.

python examples/19_training.py
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from forerun.optim import ScheduleFree, load_quantized, quantize

torch.manual_seed(0)
inputs = torch.randn(1200, 2)
labels = ((inputs.norm(dim=1) * 2).long() % 2).long()  # rings
model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))


def accuracy(network):
    """Return the share of points that a network puts into the right ring."""
    return float((network(inputs).argmax(1) == labels).float().mean())


# No schedule, no last step: the average may be looked at, and shipped, at any time.
optimizer = ScheduleFree.adamw(model, 0.02)
for step in range(1, 1201):
    batch = torch.randint(len(inputs), (128,))
    optimizer.zero_grad()
    cross_entropy(model(inputs[batch]), labels[batch]).backward()
    optimizer.step()
    if step in {100, 400, 1200}:
        with optimizer.averaged():
            print(f"after {step} steps: {accuracy(model.eval()):.3f}")
        model.train()

# The average, quantised on its own data, in a file.
optimizer.eval()
result = quantize(model.eval(), inputs, bits=3)
result.save("rings.safetensors")
again = load_quantized(model, "rings.safetensors")
print(f"in 3 bits: {accuracy(again):.3f}, {result.float_bytes} -> {result.packed_bytes} bytes")
for layer in result.layers:
    print(f"layer {layer.name}: outputs moved by {layer.error:.3f}; rounded to nearest {layer.nearest_error:.3f}")
