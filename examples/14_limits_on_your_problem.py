"""Published systems that live on limits, each on a small problem of one's own: a momentum rule, a template, a game.

python examples/14_limits_on_your_problem.py
"""

import torch

from forerun.limits import AndersonMixing, NoLimit, templates
from forerun.limits import extragradient as games
from forerun.limits import momentum as rules

torch.manual_seed(0)

# A loss of your own, whose curvature lies between 1 and 100: which rule, and does it converge?
scales = torch.logspace(0, 2, 20, dtype=torch.float64)
target = torch.randn(20, dtype=torch.float64)
gradient = torch.func.grad(lambda x: (scales * (x - target) ** 2).sum() / 2)
for rule in (rules.gradient_descent, rules.nesterov, rules.triple_momentum):
    limit = rules.minimize(gradient, torch.zeros(20, dtype=torch.float64), rule(100.0, 1.0), tolerance=1e-8)
    print(f"{rule.__name__}: {limit.evaluations} gradients, rate {limit.rate:.3f}")
try:
    rules.minimize(rules.kinked_gradient, torch.tensor([3.3], dtype=torch.float64), rules.heavy_ball(25.0, 1.0))
except NoLimit as error:
    print(f"heavy_ball, on a function with kinks: {error}\n")

# A heartbeat that was recorded 2,000 times, out of step and in noise.
beat = torch.exp(-((torch.arange(48, dtype=torch.float64) - 20) ** 2) / 8)
recordings = torch.stack([beat.roll(int(shift)) for shift in torch.randint(0, 48, (2000,))])
recordings += 0.5 * torch.randn(recordings.shape, dtype=torch.float64)
registered = templates.estimate(recordings, templates.CyclicShifts(), noise=0.5)
likely = templates.estimate_likely(recordings, templates.CyclicShifts(), first=registered.value)
for name, estimate in (("registered", registered), ("likely", likely)):
    distance = templates.distance_to_template(estimate.value, beat, templates.CyclicShifts())
    print(f"{name}: {estimate.evaluations} evaluations, {distance:.2f} from the beat (bound {estimate.bias_bound:.2f})")


# A regression that must hold where an opponent moves the data: is what was found a local minimax point?
inputs, labels = torch.randn(50, 2, dtype=torch.float64), torch.randn(50, dtype=torch.float64)


def robust_loss(weights, shift):
    """Return the loss of weights where all inputs are shifted, which costs the opponent."""
    errors = (inputs + shift) @ weights - labels
    return errors.square().mean() + 0.1 * weights.square().sum() - 2 * shift.square().sum()


zeros = torch.zeros(2, dtype=torch.float64)
for method in (None, AndersonMixing(5)):
    found = games.minimax(robust_loss, zeros, zeros + 0.1, games.extragradient(0.1), method=method, tolerance=1e-8)
    print(f"\n{found.evaluations} steps: {found.verdict}")
