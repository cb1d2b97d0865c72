"""A distribution that answers to itself: averaged on the simplex, and its limit found by mixing there.

python examples/23_average_in_a_mirror.py
"""

import torch

from forerun.limits import AndersonMixing, Plain
from forerun.limits.bregman import Entropy, measure_exponent, mirror_iteration, mirror_limit

# How likely each of thirty people is to speak, where everybody listens to those who do.
generator = torch.Generator().manual_seed(0)
affinity = torch.randn(30, 30, generator=generator, dtype=torch.float64)
first = torch.full((30,), 1 / 30, dtype=torch.float64)


def respond(shares):
    """Return how likely they speak next."""
    return (2.5 * affinity @ shares).softmax(-1)


# Mixtures of the mirror images, the logarithms: every one of them lies on the simplex.
for method in (Plain(), AndersonMixing(5)):
    limit = mirror_limit(respond, first, Entropy(), method=method, tolerance=1e-10, max_evaluations=500, throw=False)
    print(f"{type(method).__name__}: {limit.evaluations} evaluations, {limit.status.name}, sum {limit.value.sum():.6f}")

# The published scheme: averaged with shares 2 / (t + 2). Its exponent depends on the contraction.
path = mirror_iteration(respond, first, Entropy(), steps=400)
divergences = Entropy().measure_divergence(limit.value.expand_as(path.points), path.points)
exponent = measure_exponent(divergences, 100)
print(f"after 400 averaged steps: divergence {divergences[-1]:.2g}, falling like t^{exponent:.2f}")
