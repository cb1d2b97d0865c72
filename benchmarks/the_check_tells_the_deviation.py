"""Claim: the deviation estimate follows the true deviation, and catches runs that their residuals call converged.

Over a contractive, a neutral and a chaotic process and diffusion paths. Every row is a run without going back
(`Check(share=1, retries=0)`); `caught` is a run whose residuals all kept the tolerance,
whose true deviation did not, and whose estimate says so; `missed` is one whose estimate does not. The last table
runs the same with `check=True`: it goes back, and the true deviation is what counts.
"""

from __future__ import annotations

import torch
from harness import table, write_result
from torch import Tensor

from forerun import Absolute, Picard, Process, Secant, Sequential, Sliding, solve
from forerun.diffusion import Denoising, Schedule
from forerun.engine.check import Check
from forerun.engine.methods import Method
from forerun.engine.tolerance import rms
from forerun.worlds.digits import load_digits_denoiser

Problem = tuple[Process, Tensor, int]  # process, state, window


def contractive() -> Problem:
    """A tanh network of 16 units, spectral radius about 0.9, 500 steps."""
    generator = torch.Generator().manual_seed(0)
    weight = 0.9 * torch.randn(16, 16, generator=generator, dtype=torch.float64) / 4
    inputs = torch.randn(500, 1, 16, generator=generator, dtype=torch.float64)
    state = torch.randn(3, 16, generator=generator, dtype=torch.float64)
    return (
        Process.from_step(lambda i, h: torch.tanh(h @ weight + inputs[i]), 500, batched=True, batch_dims=1),
        state,
        16,
    )


def neutral() -> Problem:
    """A bounded rotation by explicit Euler steps of 0.05, 500 steps."""
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    state = torch.tensor([[1.0, 0.3], [-0.5, 1.2], [0.1, -0.9]], dtype=torch.float64)
    step = lambda i, x: x + 0.05 * torch.tanh(x @ turn)  # noqa: E731
    return Process.from_step(step, 500, batched=True, increment=True, batch_dims=1), state, 16


def lorenz(length: int) -> Problem:
    """Lorenz' system (10, 28, 8/3) by Runge-Kutta steps of 0.01; its largest Lyapunov exponent is about 0.9 a unit."""

    def slope(x: Tensor) -> Tensor:
        a, b, c = x.unbind(-1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)

    def step(_: Tensor, x: Tensor, h: float = 0.01) -> Tensor:
        k1 = slope(x)
        k2 = slope(x + h / 2 * k1)
        k3 = slope(x + h / 2 * k2)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3))

    state = torch.tensor([[1.0, 1.0, 20.0], [2.0, 3.0, 25.0], [-4.0, -2.0, 22.0]], dtype=torch.float64)
    return Process.from_step(step, length, batched=True, increment=True, batch_dims=1), state, 16


def diffusion(length: int, eta: float) -> Problem:
    """The digits of the shipped denoiser, 8 samples, float64."""
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(8, 64, generator=generator, dtype=torch.float64)
    noise = torch.randn(length, 8, 64, generator=generator, dtype=torch.float64)
    denoiser = load_digits_denoiser().double()
    process = Denoising(denoiser, Schedule.linear().spaced(length), eta=eta, noise=noise.__getitem__)
    return process, state, min(length, 100)


PROBLEMS = {
    "contractive RNN": contractive(),
    "neutral rotation": neutral(),
    "Lorenz, 200 steps": lorenz(200),
    "Lorenz, 1000 steps": lorenz(1000),
    "DDIM 100": diffusion(100, 0.0),
    "DDPM 100": diffusion(100, 1.0),
    "DDPM 1000": diffusion(1000, 1.0),
}


def estimated(problem: Problem, method: Method, size: float) -> tuple[Tensor, float]:
    """Final state and deviation estimate of a run that does not go back."""
    process, state, width = problem
    estimate_only = Check(share=1.0, retries=0)
    done = solve(
        process, state, method=method, window=Sliding(width), tolerance=Absolute(size), check=estimate_only
    )  # fmt: skip
    return done.state, done.deviation_estimate or 0.0


def main() -> None:
    """Both tables."""
    rows, mended = [], []
    for name, problem in PROBLEMS.items():
        process, state, width = problem
        truth = solve(process, state, method=Sequential(), check=False).state
        for method in (Picard(), Secant()):
            for size in (1e-2, 1e-4, 1e-6):
                end, estimate = estimated(problem, method, size)
                true = float(rms(end - truth).max())
                verdict = "" if true <= size else "caught" if estimate > size else "missed"
                rows.append({
                    "process": name, "method": type(method).__name__, "largest residual <=": size,
                    "true deviation": true, "estimate": estimate, "estimate / true": estimate / true if true else None,
                    "residuals say converged, but": verdict,
                })  # fmt: skip
            asked = 1e-4
            done = solve(process, state, method=method, window=Sliding(width), tolerance=Absolute(asked))
            mended.append({
                "process": name, "method": type(method).__name__, "asked": asked,
                "true deviation": float(rms(done.state - truth).max()), "estimate": done.deviation_estimate,
                "rounds": done.rounds, "evaluations": done.evaluations, "went back": len(done.notes),
                "status": done.status.name,
            })  # fmt: skip
    write_result(
        "the_check_tells_the_deviation",
        {
            "What is measured": __doc__ or "",
            "Estimate and truth (largest rms over the samples)": table(rows),
            "With going back": table(mended),
        },
    )


if __name__ == "__main__":
    main()
