"""A limit: where an iteration ends, in a fraction of the evaluations, with a bound that is proven.

    python examples/13_a_limit.py

The values of a decision process are the limit of a map whose contraction constant is its discount.
"""

import torch

import forerun
from forerun.engine.tolerance import largest_element
from forerun.limits import AndersonMixing, Banach, Plain

torch.manual_seed(0)
states, actions, discount = 100, 3, 0.97
transitions = torch.rand(states, actions, states, dtype=torch.float64) ** 8
transitions /= transitions.sum(-1, keepdim=True)
rewards = torch.rand(states, actions, dtype=torch.float64)


def update_values(values):
    """Return what the best action is worth in every state, if the next states are worth `values`."""
    return (rewards + discount * transitions @ values).amax(1)


tolerance = forerun.Absolute(1e-8, size=largest_element)  # a discount contracts in the largest element
for method in (Plain(), AndersonMixing(5)):
    limit = forerun.fixed_point(
        update_values,
        torch.zeros(states, dtype=torch.float64),
        method=method,
        tolerance=tolerance,
        certificate=Banach(discount),
    )
    print(f"{method}\n{limit}\n")
