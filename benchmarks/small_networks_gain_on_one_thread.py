"""Claim: where a call costs its dispatch, running ahead is at least three times faster on one CPU thread.

A diffusion policy: a three-layer perceptron of 256 units denoises a chunk of 16 actions of 4 numbers for an
observation of 20, 100 steps, batch 1. The rivals are the same loop in eager PyTorch, and the same loop with the
network compiled (`torch.compile`), and running ahead with each. Deviations are from the eager loop. Times include
everything; rivals are timed in turn. The native kernels are loaded from the start, as in a process that has run for
some seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from harness import median_time, paired_ratio, table, write_result
from torch import Tensor, nn

from forerun import Absolute, Auto, Secant, Sliding, solve
from forerun.diffusion import Denoising, Schedule
from forerun.engine.methods import Picard
from forerun.engine.numerics.native.loader import NATIVE_KERNELS

ACTIONS, OBSERVATION, LENGTH = 64, 20, 100


class Policy(nn.Module):
    """Predicts the denoised chunk from the noisy one, the observation and the timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(ACTIONS + OBSERVATION + 32, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(),
            nn.Linear(256, ACTIONS),
        )  # fmt: skip
        self.register_buffer("rates", torch.exp(torch.linspace(0, -math.log(1e4), 16)))
        self.register_buffer("observation", torch.zeros(1, OBSERVATION))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = t.to(x).unsqueeze(-1) * self.rates
        time = torch.cat([angles.sin(), angles.cos()], -1)
        return self.layers(torch.cat([x, self.observation.expand(len(x), -1), time], -1))


def trained(seed: int = 0, steps: int = 1500) -> Policy:
    """The policy fitted to chunks that depend smoothly on the observation, so that its denoising is a real one."""
    torch.manual_seed(seed)
    policy, schedule = Policy(), Schedule.linear()
    mix, optimiser = torch.randn(OBSERVATION, 8), torch.optim.Adam(policy.parameters(), 1e-3)
    basis = torch.randn(8, ACTIONS) / 8**0.5
    for _ in range(steps):
        observation = torch.randn(256, OBSERVATION)
        clean = torch.tanh(torch.tanh(observation @ mix) @ basis)
        t = torch.randint(1000, (256,))
        signal, noise = schedule.rates(t, clean)
        noisy = signal * clean + noise * torch.randn_like(clean)
        policy.observation = observation
        loss = (policy(noisy, t) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    policy.observation = torch.randn(1, OBSERVATION)
    return policy.eval().requires_grad_(False)


def loop(process: Denoising, state: Tensor, network: Callable[[Tensor, Tensor], Tensor], times: Tensor) -> Tensor:
    """The ordinary loop, as one would write it."""
    for step in range(process.length):
        state = process.advance(step, state, network(state, times[step : step + 1]))
    return state


def main() -> None:
    """Both samplers, every rival."""
    NATIVE_KERNELS.setting = "1"
    sections = {"What is measured": __doc__ or ""}
    policy = trained()
    compiled = torch.compile(policy, dynamic=False)
    with torch.no_grad():
        one, many = (torch.randn(batch, ACTIONS) for batch in (1, 32))
        cost = {len(x): 1e3 * median_time(partial(policy, x, torch.zeros(len(x), dtype=torch.int64)), 201)
                for x in (one, many)}  # fmt: skip
        sections["One call of the network, ms"] = table([{"batch": b, "ms": ms} for b, ms in cost.items()])
        for name, eta in (("DDIM 100", 0.0), ("DDPM 100", 1.0)):
            sections[name] = table(compare(policy, compiled, eta))
    write_result("small_networks_gain_on_one_thread", sections)


def compare(policy: Policy, compiled: Callable[[Tensor, Tensor], Tensor], eta: float) -> list[dict[str, object]]:
    """Rows of one sampler."""
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(1, ACTIONS, generator=generator)
    noise = torch.randn(LENGTH, 1, ACTIONS, generator=generator)
    schedule = Schedule.linear().spaced(LENGTH)
    process = Denoising(policy, schedule, eta=eta, noise=noise.__getitem__)
    fast = Denoising(compiled, schedule, eta=eta, noise=noise.__getitem__)
    eager = lambda: loop(process, state, policy, schedule.timesteps)  # noqa: E731
    truth = eager()
    rows: list[dict[str, object]] = [{"run": "loop, eager", "rounds": LENGTH, "evaluations": LENGTH}]
    single = lambda: loop(fast, state, compiled, schedule.timesteps)  # noqa: E731
    rows.append({"run": "loop, compiled network", "rounds": LENGTH, "evaluations": LENGTH,
                 "largest deviation": float((single() - truth).abs().max()), **speed(eager, single)})  # fmt: skip
    for label, method, window, check in (
        ("ahead, Secant, Auto, checked", Secant(), Auto(), True),
        ("ahead, Secant, window 100, checked", Secant(), Sliding(100), True),
        ("ahead, Secant, window 100", Secant(), Sliding(100), False),
        ("ahead, Picard, window 100", Picard(), Sliding(100), False),
    ):
        run = lambda m=method, w=window, c=check: solve(  # noqa: E731
            process, state, method=m, window=w, tolerance=Absolute(1e-3), check=c
        )
        done = run()
        rows.append({"run": label, "rounds": done.rounds, "evaluations": done.evaluations,
                     "largest deviation": float((done.state - truth).abs().max()),
                     "estimate (rms)": done.deviation_estimate, **speed(eager, run)})  # fmt: skip
    return rows


def speed(eager: Callable[[], object], rival: Callable[[], object]) -> dict[str, object]:
    """Times faster than the eager loop."""
    ratio = paired_ratio(eager, rival, 15)
    return {"faster, wall": str(ratio.wall), "faster, CPU": str(ratio.cpu)}


if __name__ == "__main__":
    main()
