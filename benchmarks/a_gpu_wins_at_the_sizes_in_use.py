"""Claim: on a GPU, networks of the sizes in use are sampled faster ahead, by what their batches cost.

For an SD 1.5 UNet, a transformer built like Flux and an SDXL UNet, in bfloat16, eager and compiled:

(a) `c(W)`: milliseconds of a call for `W` steps, and the batch efficiency `W c(1) / c(W)`.
(b) Speed-ups of DDIM, the plain loop's time over ours: predicted from (a) and the rounds, and measured, for `Auto` as
    it is and for fixed windows, dense and sparse; the deviation of the samples is beside it as PSNR.
(c) First-block caching (diffusers' `apply_first_block_cache`), for the transformer: its own time and PSNR by its
    threshold, to be read beside (b) at equal time. Diffusers has none for UNets.
(d) The shipped policy for robots, 100 steps a chunk; the recurrent scan beside `torch.nn.GRU`.

The weights are random, as the time does not depend on them; so that the path is that of a sampler all the same, the
denoised sample is that of an exact denoiser (eight pictures) with 5 % of the network's output added.

    python benchmarks/a_gpu_wins_at_the_sizes_in_use.py          at most eight minutes; writes after each part
    python benchmarks/a_gpu_wins_at_the_sizes_in_use.py --tiny   on the CPU with tiny networks, in seconds

A part that the time is not enough for is left out, and named.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from _gpu_networks import BUILDERS, SizedNetwork, TemplateDenoiser, measure_psnr, run_plain_loop
from _policies import load_policy
from harness import RESULTS, table, write_result
from torch import Tensor, nn

from forerun import Auto, Newton, Sliding
from forerun.diffusion import sample
from forerun.engine.windows import Density, Window
from forerun.policy import Sampler
from forerun.sequence import RNN

LIMIT_SECONDS = 480.0
CACHE_THRESHOLDS = (0.03, 0.08, 0.15, 0.3)
Row = dict[str, object]


@dataclass(frozen=True)
class Plan:
    """What is measured: the sizes of the GPU, or tiny ones for a test."""

    device: str
    tiny: bool
    begin: float
    limit: float = LIMIT_SECONDS

    @property
    def widths(self) -> tuple[int, ...]:
        return (1, 2, 4) if self.tiny else (1, 2, 4, 8, 16, 32)

    @property
    def steps(self) -> int:
        return 14 if self.tiny else 50

    def has_time(self, seconds: float) -> bool:
        """Return whether a part that may take so long still fits."""
        return time.perf_counter() - self.begin + seconds <= self.limit


def measure_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of a call, the work that it leaves on a GPU included, after one that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        _wait()
        begin = time.perf_counter()
        call()
        _wait()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.no_grad()
def measure_costs(sized: SizedNetwork, network: nn.Module, plan: Plan) -> dict[int, float]:
    """Return the seconds of a call by the steps in it."""
    costs = {}
    for width in plan.widths:
        samples = torch.randn(width, *sized.shape, device=plan.device, dtype=torch.bfloat16)
        times = torch.full((width,), 500, device=plan.device)
        costs[width] = measure_seconds(lambda samples=samples, times=times: sized.call(network, samples, times), 3)
    return costs


def list_windows(costs: dict[int, float]) -> dict[str, Window]:
    """Return the windows that are measured, by name."""
    windows: dict[str, Window] = {"Auto": Auto()}
    for width in list(costs)[1:]:
        windows[f"{width}, dense"] = Sliding(width)
    widest = max(costs)
    windows[f"{2 * widest}, every third and sixth"] = Sliding(2 * widest, Density((3, 6)))
    return windows


@torch.no_grad()
def measure_sampling(denoiser: TemplateDenoiser, costs: dict[int, float], plan: Plan) -> Iterator[Row]:
    """Yield one row a window: rounds, evaluations, predicted and measured speed-up, PSNR."""
    scheduler = denoiser.scheduler
    scheduler.set_timesteps(plan.steps)
    noise = torch.randn(1, *denoiser.pictures.shape[1:], generator=torch.Generator().manual_seed(0)).to(plan.device)
    truth = run_plain_loop(denoiser, noise)
    plain_seconds = measure_seconds(lambda: run_plain_loop(denoiser, noise), 1)
    for name, window in list_windows(costs).items():
        if not plan.has_time(4 * plain_seconds):
            return

        def run_ahead(window: Window = window) -> Any:
            return sample(denoiser, scheduler, noise, steps=plan.steps, window=window)

        solution = run_ahead()
        seconds = measure_seconds(run_ahead, 1)
        price = sum(_interpolate(costs, entry.evaluations) for entry in solution.log)
        single_steps = solution.length - sum(entry.accepted for entry in solution.log)
        yield {
            "window": name, "rounds": solution.rounds, "evaluations": solution.evaluations,
            "predicted": plan.steps * costs[1] / (price + max(single_steps, 0) * costs[1]),
            "measured": plain_seconds / seconds, "PSNR, dB": measure_psnr(solution.state, truth),
            "note": next(iter(solution.notes), ""),
        }  # fmt: skip


def _interpolate(costs: dict[int, float], width: int) -> float:
    """Return the seconds of a call for so many steps, by the widths around it."""
    below = max(known for known in costs if known <= width)
    above = min((known for known in costs if known >= width), default=below)
    if above == below:
        return costs[below] * width / below
    share = (width - below) / (above - below)
    return costs[below] + share * (costs[above] - costs[below])


@torch.no_grad()
def measure_caching(sized: SizedNetwork, plan: Plan) -> Iterator[Row]:
    """Yield one row a threshold of first-block caching: speed-up and PSNR."""
    denoiser = TemplateDenoiser(sized, sized.network, plan.device)
    denoiser.scheduler.set_timesteps(plan.steps)
    noise = torch.randn(1, *sized.shape, generator=torch.Generator().manual_seed(0)).to(plan.device)
    truth = run_plain_loop(denoiser, noise)
    plain_seconds = measure_seconds(lambda: run_plain_loop(denoiser, noise), 1)
    for threshold in CACHE_THRESHOLDS:
        sized.network.enable_cache(diffusers.hooks.FirstBlockCacheConfig(threshold=threshold))

        def run_cached() -> Tensor:
            sized.network._reset_stateful_cache()
            with sized.network.cache_context("only"):
                return run_plain_loop(denoiser, noise)

        cached = run_cached()
        seconds = measure_seconds(run_cached, 1)
        sized.network.disable_cache()
        yield {
            "threshold": threshold, "measured": plain_seconds / seconds, "PSNR, dB": measure_psnr(cached, truth)
        }  # fmt: skip


def measure_recurrence(plan: Plan) -> Iterator[Row]:
    """Yield one row a width and length: our layer over torch's own kernel, forward and with the gradient."""
    for width in (4, 16):
        for length in (64,) if plan.tiny else (1_000, 10_000):
            theirs = nn.GRU(4, width).to(plan.device)
            ours = RNN(theirs, method=Newton())
            xs = torch.randn(length, 1, 4, device=plan.device)
            seconds = {}
            for name, module in (("theirs", theirs), ("ours", ours)):

                def run_backward(module: nn.Module = module, xs: Tensor = xs) -> None:
                    module(xs)[0].square().sum().backward()

                seconds[name] = measure_seconds(run_backward, 3)
            yield {
                "GRU": width, "length": length, "torch.nn, ms": 1e3 * seconds["theirs"],
                "ours, ms": 1e3 * seconds["ours"], "torch.nn over ours": seconds["theirs"] / seconds["ours"],
            }  # fmt: skip


@torch.no_grad()
def measure_policy(plan: Plan) -> Iterator[Row]:
    """Yield the times of a chunk of the shipped policy: diffusers' loop, ours with all steps in flight."""
    policy = load_policy("pick-place").to(plan.device)
    shape, steps = policy.shape, 10 if plan.tiny else 100
    scheduler = type(policy.scheduler).from_config(policy.scheduler.config)
    scheduler.set_timesteps(steps)
    observation = torch.randn(shape.observed, generator=torch.Generator().manual_seed(0)).to(plan.device)
    sampler = Sampler(
        policy, policy.scheduler, (shape.horizon, shape.action), steps=steps, observation=(shape.observed,),
        device=plan.device, tolerance=1e-2,
    )  # fmt: skip
    generator = torch.Generator(device=plan.device).manual_seed(0)

    def run_loop() -> Tensor:
        chunk = torch.randn(1, shape.horizon, shape.action, device=plan.device)
        for timestep in scheduler.timesteps:
            predicted = policy(chunk, timestep.reshape(1).to(plan.device), observation[None])
            chunk = scheduler.step(predicted, timestep, chunk, generator=generator).prev_sample
        return chunk

    plain, ours = measure_seconds(run_loop, 5), measure_seconds(lambda: sampler.act(observation), 5)
    assert sampler.report is not None, "a tick was taken"
    yield {
        "steps": steps, "diffusers' loop, ms": 1e3 * plain, "ahead, ms": 1e3 * ours, "rounds": sampler.report.rounds,
        "loop over ahead": plain / ours,
    }  # fmt: skip


def measure_network(sized: SizedNetwork, network: nn.Module, plan: Plan) -> tuple[str, str]:
    """Return the tables of (a) and (b) of a network, eager or compiled."""
    costs = measure_costs(sized, network, plan)
    cost_rows = [
        {"steps in a call": width, "ms": 1e3 * seconds, "batch efficiency": width * costs[1] / seconds}
        for width, seconds in costs.items()
    ]
    sampling_rows = list(measure_sampling(TemplateDenoiser(sized, network, plan.device), costs, plan))
    return table(cost_rows), table(sampling_rows)


def measure_parts(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the heading and the table of one part after the other, those that matter most first."""
    yield "(d) The policy", table(list(measure_policy(plan)))
    yield "(d) The scan, forward and gradient", table(list(measure_recurrence(plan)))
    compiled: list[tuple[SizedNetwork, nn.Module]] = []
    for build in BUILDERS:
        sized = build(plan.device, tiny=plan.tiny)
        costs, sampling = measure_network(sized, sized.network, plan)
        yield f"(a) {sized.name}, eager", costs
        yield f"(b) {sized.name}, eager, DDIM {plan.steps}", sampling
        if hasattr(sized.network, "enable_cache") and plan.has_time(60):
            yield f"(c) {sized.name}, first-block caching", table(list(measure_caching(sized, plan)))
        compiled.append((sized, sized.network if plan.tiny else torch.compile(sized.network, dynamic=True)))
    for sized, network in compiled:
        if not plan.has_time(100):
            yield f"(a) {sized.name}, compiled", "Left out: the time was over."
            continue
        costs, sampling = measure_network(sized, network, plan)
        yield f"(a) {sized.name}, compiled", costs
        yield f"(b) {sized.name}, compiled, DDIM {plan.steps}", sampling


def run_plan(plan: Plan, folder: Path = RESULTS) -> dict[str, str]:
    """Measure part after part, and write what there is after each; return all sections."""
    sections = {"What is measured": __doc__ or ""}
    for heading, text in measure_parts(plan):
        sections[heading] = text
        minutes = (time.perf_counter() - plan.begin) / 60
        sections["Time"] = f"{minutes:.1f} minutes so far, of {plan.limit / 60:.0f}."
        write_result(Path(__file__).stem, sections, folder=folder)
    return sections


def main() -> None:
    """All parts; --tiny runs them on the CPU and writes beside the results of others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here; type --tiny to run the same with tiny networks on the CPU.")
    warnings.filterwarnings("ignore", "forerun: ")
    device = "cpu" if arguments.tiny else "cuda"
    folder = arguments.out or (RESULTS.parent.parent / "forerun-out" if arguments.tiny else RESULTS)
    run_plan(Plan(device, arguments.tiny, time.perf_counter()), folder)


if __name__ == "__main__":
    main()
