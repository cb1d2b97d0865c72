"""Claim: sampled ahead, a chunk of 100 steps comes at least three times sooner than from the plain loop.

Observations of pick-place were recorded in order; all rivals answer the same ones on one thread, tick by tick in turn,
so that a slow spell of the machine hits all of them. `in order` is the plain loop with the scheduler's numbers read off
beforehand; `diffusers' loop` calls the scheduler's own `step`; `compiled network` and `compiled step` are the plain
loop with `torch.compile` around the network, or around network and scheduler together. Times are milliseconds a chunk,
from the observation to the answer: median, 99th percentile, and median of the CPU time. `sooner` is the median of the
ratios to the plain loop of the same tick. The deviation is the largest from the plain loop with the same noise.

Eight actions of a chunk are executed; in `every action`, one, so that warm starts from a tick that was nearly the same.
The tolerance is 1e-2 where none is said.

The policy of 0.3 M parameters is the shipped one. Those of 2 and 10 M are trained with
`forerun train-policy pick-place --network medium --steps 4000` and `--network large --steps 400`, which is short.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _policies import (
    AheadRival,
    CompiledStepRival,
    DiffusersRival,
    ParadigmsRival,
    PlainRival,
    PolicyRival,
    TimedTick,
    cached_cell,
    ddim,
    load_policy,
    record_observations,
)
from harness import table, write_result

from forerun.policy import RTI, Deadline, Exact, Warm
from forerun.worlds.robots import tasks
from forerun.worlds.robots.policy import ChunkPolicy

Make = Callable[[ChunkPolicy, int], PolicyRival]
RIVALS: dict[str, Make] = {
    "DDPM 100, in order": lambda p, n: PlainRival(p, p.scheduler, 100, 0),
    "DDPM 100, diffusers' loop": lambda p, n: DiffusersRival(p, p.scheduler, 100, 0),
    "DDPM 100, in order, compiled network": lambda p, n: PlainRival(p, p.scheduler, 100, 0, compiled=True),
    "DDPM 100, in order, compiled step": lambda p, n: CompiledStepRival(p, p.scheduler, 100, 0),
    "DDPM 100, ParaDiGMS' rule, window 20": lambda p, n: ParadigmsRival(p, p.scheduler, 100, 0, window=20),
    "DDPM 100, ParaDiGMS' rule, window 32": lambda p, n: ParadigmsRival(p, p.scheduler, 100, 0, window=32),
    "DDPM 100, exact": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=Exact(), executed=n),
    "DDPM 100, exact, window 100": lambda p, n: AheadRival(
        p, p.scheduler, 100, 0, mode=Exact(), executed=n, window=100
    ),
    "DDPM 100, warm": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=Warm(), executed=n),
    "DDPM 100, warm, window 100": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=Warm(), executed=n, window=100),
    "DDPM 100, warm, window 100, checked": lambda p, n: AheadRival(
        p, p.scheduler, 100, 0, mode=Warm(), executed=n, window=100, check=True
    ),
    "DDPM 100, exact, tolerance 3e-3": lambda p, n: AheadRival(
        p, p.scheduler, 100, 0, mode=Exact(), executed=n, tolerance=3e-3
    ),
    "DDPM 100, warm, window 100, tolerance 3e-3": lambda p, n: AheadRival(
        p, p.scheduler, 100, 0, mode=Warm(), executed=n, window=100, tolerance=3e-3
    ),
    "DDPM 100, deadline 5 ms": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=Deadline(5), executed=n),
    "DDPM 100, deadline 10 ms": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=Deadline(10), executed=n),
    "DDPM 100, deadline 20 ms": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=Deadline(20), executed=n),
    "RTI, 3 steps": lambda p, n: AheadRival(p, p.scheduler, 100, 0, mode=RTI(3), executed=n),
    "DDIM 100, in order": lambda p, n: PlainRival(p, ddim(p), 100, 0),
    "DDIM 100, exact": lambda p, n: AheadRival(p, ddim(p), 100, 0, mode=Exact(), executed=n),
    "DDIM 10, in order": lambda p, n: PlainRival(p, ddim(p), 10, 0),
    "DDIM 10, in order, compiled step": lambda p, n: CompiledStepRival(p, ddim(p), 10, 0),
    "DDIM 10, exact": lambda p, n: AheadRival(p, ddim(p), 10, 0, mode=Exact(), executed=n),
}


def main() -> None:
    """A table for each network that is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--medium", type=Path, help="folder of the policy of 2 M parameters")
    parser.add_argument("--large", type=Path, help="folder of the policy of 10 M parameters")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    sections = {"What is measured": __doc__ or ""}
    for label, name, count, executed in (
        ("0.3 M", "pick-place", 28, 8), ("0.3 M, every action", "pick-place", 40, 1),
        ("2 M", options.medium, 14, 8), ("10 M", options.large, 7, 8),
    ):  # fmt: skip
        if name is not None:
            policy = load_policy(str(name))
            calls, rows = (
                cached_cell(f"latency, {label}, {what}", partial(make, policy, count, executed))
                for what, make in (("calls", cost), ("chunks", contest))
            )
            sections[f"{label}: one call of the network, ms"] = table(calls)
            sections[f"{label}: {count} chunks"] = table(rows)
    write_result("policies_answer_sooner", sections)


def contest(policy: ChunkPolicy, count: int, executed: int) -> list[Mapping[str, Any]]:
    """Every rival on every observation, in turn."""
    episodes = record_observations(
        tasks.PICK_PLACE, load_policy("pick-place"), 4 if executed == 8 else 1, executed=executed
    )
    seen = [tick for episode in episodes for tick in episode][:count]
    rivals = {name: make(policy, executed) for name, make in RIVALS.items()}
    for rival in rivals.values():
        for observation in seen[:2]:
            rival.tick(observation)  # compiles, and warms up
    found: dict[str, list[TimedTick]] = {name: [] for name in rivals}
    away = dict.fromkeys(rivals, 0.0)
    truths = {(100, True): PlainRival(policy, policy.scheduler, 100, 0)}
    truths |= {(n, False): PlainRival(policy, ddim(policy), n, 0) for n in (100, 10)}
    for observation in seen:
        for name, rival in rivals.items():
            tick = rival.tick(observation)
            found[name].append(tick)
            if rival.noise is not None and not name.startswith("RTI"):  # which answers another question
                truth = truths[100 if "100" in name else 10, name.startswith("DDPM")]
                away[name] = max(away[name], float((tick.chunk - truth.loop.act(observation, rival.noise)).abs().max()))
    base = found["DDPM 100, in order"]
    return [row(name, ticks, base, away[name]) for name, ticks in found.items()]


def row(name: str, ticks: list[TimedTick], base: list[TimedTick], away: float) -> Mapping[str, Any]:
    """A rival's figures."""
    walls = torch.tensor([1000 * tick.seconds for tick in ticks])
    return {
        "run": name,
        "rounds": round(statistics.fmean(tick.rounds for tick in ticks), 1),
        "evaluations": round(statistics.fmean(tick.evaluations for tick in ticks)),
        "deviation": away or None,
        "median": float(walls.median()),
        "99th": float(walls.quantile(0.99)),
        "CPU": 1000 * statistics.median(tick.cpu for tick in ticks),
        "sooner": statistics.median(b.seconds / tick.seconds for tick, b in zip(ticks, base, strict=True)),
    }


def cost(policy: ChunkPolicy, count: int, executed: int) -> list[dict[str, float]]:
    """Milliseconds of one call at some batch sizes: the least of thirty, which other work disturbs least."""
    rows = []
    for batch in (1, 10, 32, 100):
        given = (torch.randn(batch, 16, 4), torch.zeros(batch, dtype=torch.int64), policy.mean.expand(batch, -1))
        times = []
        for _ in range(30):
            begun = time.perf_counter()
            policy(*given)
            times.append(time.perf_counter() - begun)
        rows.append({"batch": batch, "ms": 1000 * min(times)})
    return rows


if __name__ == "__main__":
    main()
