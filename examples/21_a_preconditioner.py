"""A preconditioner for a family of systems of your own, beside an incomplete factor and the one that ships.

python examples/21_a_preconditioner.py
"""

import torch
from scipy.sparse.linalg import cg

from forerun.limits.preconditioner import LearnedPreconditioner, LowerPattern, factorise_incompletely, solve_linear
from forerun.worlds.conductivity import draw_diffusion_matrix, load_preconditioner

# Your family: matrices that were solved before. Here small squares of uneven conductivity; a few seconds of training.
matrices = [draw_diffusion_matrix(seed, size=12) for seed in range(8)]
learned = LearnedPreconditioner.train(matrices, width=8, rounds=3, steps=200)

A = draw_diffusion_matrix(99, size=24)  # another one, and larger
b = torch.ones(A.shape[0], dtype=torch.float64)
factors = {
    "nothing": None,
    "IC(0)": factorise_incompletely(LowerPattern.from_matrix(A)),
    "learned here": learned.factorise(A),
    "that ships": load_preconditioner().factorise(A),
    "that ships, 6 sweeps": load_preconditioner().factorise(A, sweeps=6),
}
for name, factor in factors.items():
    solution = solve_linear(A, b, factor, tolerance=1e-10)
    print(f"{name}: {solution.iterations} iterations, residual {solution.residual:.1e}")

x, _ = cg(A, b.numpy(), M=factors["learned here"].as_operator(), rtol=1e-10)
print(f"scipy's cg takes it too: {float(abs(x - solution.x.numpy()).max()):.1e} apart")
