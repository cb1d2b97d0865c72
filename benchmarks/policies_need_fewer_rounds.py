"""Claim: chunks of a diffusion policy take at most 0.55 of ParaDiGMS' rounds at equal deviation, and half of that warm.

Observations were recorded in order (three episodes of each task, two of the long one), so that all rivals answer the
same ones; the rivals share the noise of every tick, but for warm, which makes its own. The deviation is the largest
difference of any number of any chunk from the plain loop with the same noise; numbers lie in [-1, 1]. Each rival gets
the loosest tolerance, of a grid of ratio 0.7, that keeps the bound in all ticks; then its rounds and evaluations are
means a chunk. The network is the shipped one of each task, 0.3 M parameters. Windows are steps in flight: with 32 in
flight, 100 steps take four rounds at the least; with 100, one. Eight actions of a chunk are executed; in the sections
with `every action`, one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from _policies import (
    AheadRival,
    ParadigmsRival,
    PlainRival,
    PolicyRival,
    cached_cell,
    ddim,
    load_policy,
    record_observations,
)
from harness import table, write_result
from torch import Tensor

from forerun.policy import Exact, Warm
from forerun.worlds.robots import tasks
from forerun.worlds.robots.policy import ChunkPolicy

BOUNDS = (3e-2, 1e-2)
GRIDS = {"theirs": [32 * 0.7**k for k in range(32)], "ours": [0.7**k for k in range(24)]}
Make = Callable[[ChunkPolicy, Any, float, int], PolicyRival]
RIVALS: dict[str, tuple[str, Make]] = {
    "ParaDiGMS' rule, window 20": ("theirs", lambda p, s, t, n: ParadigmsRival(p, s, 100, 0, window=20, tolerance=t)),
    "ParaDiGMS' rule, window 32": ("theirs", lambda p, s, t, n: ParadigmsRival(p, s, 100, 0, window=32, tolerance=t)),
    "exact, window 32": ("ours", lambda p, s, t, n: AheadRival(p, s, 100, 0, mode=Exact(), tolerance=t, executed=n)),
    "exact, window 100": (
        "ours",
        lambda p, s, t, n: AheadRival(p, s, 100, 0, mode=Exact(), tolerance=t, executed=n, window=100),
    ),
    "warm, window 32": ("ours", lambda p, s, t, n: AheadRival(p, s, 100, 0, mode=Warm(), tolerance=t, executed=n)),
    "warm, window 100": (
        "ours",
        lambda p, s, t, n: AheadRival(p, s, 100, 0, mode=Warm(), tolerance=t, executed=n, window=100),
    ),
}


CASES = ((tasks.PICK_PLACE, 3, 8), (tasks.PILLAR, 3, 8), (tasks.PEG_INSERT, 2, 8), (tasks.PICK_PLACE, 1, 1))


def main() -> None:
    """Every task, both schedulers."""
    sections = {"What is measured": __doc__ or ""}
    for task, count, executed in CASES:
        policy = load_policy(task.name)
        seen = record_observations(task, policy, count, executed=executed)
        for label, scheduler in (("DDPM 100", policy.scheduler), ("DDIM 100", ddim(policy))):
            contest, rows = Contest(policy, scheduler, seen, executed), []
            case = f"{task.name}, {label}" + (", every action" if executed == 1 else "")
            for name in RIVALS:
                rows += cached_cell(f"rounds, {case}, {name}", partial(contest.rows, name))
                print(case, rows[-len(BOUNDS) :], flush=True)
            sections[case] = table(sorted(rows, key=lambda row: -row["bound"]))
    write_result("policies_need_fewer_rounds", sections)


class Contest:
    """All rivals on the same observations."""

    def __init__(self, policy: ChunkPolicy, scheduler: Any, seen: Sequence[Sequence[Tensor]], executed: int) -> None:
        self.policy, self.scheduler, self.seen, self.executed = policy, scheduler, seen, executed
        self._plain = PlainRival(policy, scheduler, 100, 0)
        self._truth: dict[tuple[int, float], Tensor] = {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Of a rival: one a bound."""
        grid, make = RIVALS[name]
        sizes, rows = iter(GRIDS[grid]), []
        tolerance = next(sizes)
        found = self._follow(make(self.policy, self.scheduler, tolerance, self.executed))
        for bound in BOUNDS:
            while found["deviation"] > bound and (tighter := next(sizes, None)) is not None:
                tolerance = tighter
                found = self._follow(make(self.policy, self.scheduler, tolerance, self.executed))
            rows.append({"bound": bound, "run": name, "tolerance": tolerance, **found})
        return rows

    def _follow(self, rival: PolicyRival) -> dict[str, float]:
        """A rival over all recorded episodes."""
        ticks, away = [], 0.0
        for episode in self.seen:
            rival.reset()
            for observation in episode:
                ticks.append(rival.tick(observation))
                truth = self._in_order(len(ticks), observation, rival.noise)
                away = max(away, float((ticks[-1].chunk - truth).abs().max()))
        count = len(ticks)
        return {
            "rounds": round(sum(tick.rounds for tick in ticks) / count, 2),
            "evaluations": round(sum(tick.evaluations for tick in ticks) / count, 1),
            "deviation": away,
            "CPU ms": sorted(1000 * tick.cpu for tick in ticks)[count // 2],
        }

    def _in_order(self, number: int, observation: Tensor, noise: Tensor) -> Tensor:
        key = number, float(noise.double().sum())  # most rivals meet the same noise
        if key not in self._truth:
            self._truth[key] = self._plain.loop.act(observation, noise)
        return self._truth[key]


if __name__ == "__main__":
    main()
