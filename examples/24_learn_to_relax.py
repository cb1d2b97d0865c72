"""A simulation that solves one system a step, and learns its relaxation parameter as it goes, from iterations alone.

python examples/24_learn_to_relax.py
"""

import numpy as np

from forerun.limits.relaxation import ChebyshevBandit, FixedSetting, HeatStream, Relaxed, SsorCg

OMEGAS = (1.0, 1.4, 1.8)

# Heat on a square, whose coefficient rises and falls: a system of its own at every step of time.
heat = HeatStream(side=12, steps=150)
learners = {
    "learnt": None,  # Tsallis-INF: nothing but the iterations so far
    "learnt, with the coefficient": ChebyshevBandit(0.05, 1.05, degree=3),
    "always 1.0": FixedSetting(0),
    "always 1.8": FixedSetting(2),
}
for name, learner in learners.items():
    relaxed = Relaxed(SsorCg(), omegas=OMEGAS, learner=learner)
    for matrix, right, coefficient in heat:
        temperature = relaxed.solve(matrix, right, context=coefficient).x
    print(f"{name:>28}: {relaxed.stream.total_cost:.0f} iterations, mostly {np.median(relaxed.omegas[50:])}")
print(f"temperature at the end: {temperature.min():.2f} to {temperature.max():.2f}")
