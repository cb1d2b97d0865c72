"""A function that is given by its own values elsewhere: whether there is one, and which.

python examples/18_functional_equation.py
"""

import torch

from forerun.limits import Plain, functional_equations

# A gambler who doubles his stake while he is ahead: f(x) is the chance to reach 1 from x, by bold play with a coin that
# falls his way in 2 of 5 throws. f(x) = 2/5 f(2 x) below 1/2, and 2/5 + 3/5 f(2 x - 1) above.
CHANCE = 0.4


def is_below(x):
    """Return 1 where the whole fortune is staked."""
    return (x < 0.5).to(x.dtype)


weights = [lambda x: CHANCE * is_below(x), lambda x: (1 - CHANCE) * (1 - is_below(x))]
arguments = [lambda x: (2 * x).clamp(0, 1), lambda x: (2 * x - 1).clamp(0, 1)]
grid = torch.linspace(0, 1, 1025, dtype=torch.float64)
bold = functional_equations.solve(
    weights,
    arguments,
    grid,
    source=lambda x: CHANCE * (1 - is_below(x)),
    fixed_values={0.0: 0.0, 1.0: 1.0},
)
quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
print("bold play from 1/4, 1/2 and 3/4:", [round(value, 4) for value in bold(quarters).tolist()])
print(bold.existence)
print(f"{bold.limit.evaluations} evaluations, error at most {bold.error_bound:.2g}\n")

# A learning fish (the study has more), with and without mixing, and at once.
weights = [lambda x: x, lambda x: 1 - x]
arguments = [lambda x: 0.7 * x + 0.3, lambda x: 0.8 * x]
ends = {0.0: 0.0, 1.0: 1.0}
for method in (Plain(), None):
    fish = functional_equations.solve(weights, arguments, grid, fixed_values=ends, method=method)
    print(f"{fish.limit.evaluations} evaluations: f(1/4) = {fish(quarters)[0]:.10f}, within {fish.error_bound:.1g}")
at_once = functional_equations.solve_directly(weights, arguments, grid, fixed_values=ends)
print(f"one sparse system: f(1/4) = {at_once(quarters)[0]:.10f}")

# Without fixed values every constant solves it as well, so that nothing says which function is meant.
try:
    functional_equations.solve(weights, arguments, grid)
except functional_equations.NoContraction as error:
    print(f"\nrefused: {error}")
