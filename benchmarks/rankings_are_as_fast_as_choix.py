"""Claim: rankings are those of choix, in less time, and 10,000 players need no dense matrix.

    python benchmarks/rankings_are_as_fast_as_choix.py

Games of two players drawn at random, log strengths of spread 1, 25 games a player. Every method is asked for the
strengths of largest likelihood to 1e-8; errors are distances from Newton's at 1e-12, in the largest log strength. Time
is that of the process, the best of three, with reading the games.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import choix
import harness
import torch
from torch import Tensor

from forerun.limits import rankings

SIZES = (100, 300, 1000, 10_000)
GAMES_A_PLAYER = 25
TOLERANCE = 1e-8
MAX_DENSE = 1000  # choix makes matrices of players times players
MAX_EXCESS = 300  # players beyond which MM of choix takes minutes

OURS = {"Newman, mixed": rankings.NewmanMap, "Newton": rankings.LikelihoodNewtonMap}
THEIRS: dict[str, Callable[..., Any]] = {
    "choix ilsr": lambda players, games: choix.ilsr_pairwise(players, games, tol=TOLERANCE),
    "choix opt": lambda players, games: choix.opt_pairwise(players, games, alpha=0.0, tol=TOLERANCE),
    "choix mm": lambda players, games: choix.mm_pairwise(players, games, tol=TOLERANCE, max_iter=100_000),
}


def play_games(players: int) -> tuple[list[int], list[int]]:
    """Winners and losers; everybody wins and loses once more, so that all strengths are finite."""
    generator = torch.Generator().manual_seed(0)
    strengths = torch.randn(players, generator=generator)
    pairs = torch.randint(players, (GAMES_A_PLAYER * players, 2), generator=generator)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    chances = torch.sigmoid(strengths[pairs[:, 0]] - strengths[pairs[:, 1]])
    is_won = torch.rand(len(pairs), generator=generator) < chances
    circle = torch.arange(players)
    winners = torch.cat([torch.where(is_won, pairs[:, 0], pairs[:, 1]), circle])
    losers = torch.cat([torch.where(is_won, pairs[:, 1], pairs[:, 0]), circle.roll(1)])
    return winners.tolist(), losers.tolist()


def measure(run: Callable[[], Tensor], optimum: Tensor, repeats: int = 3) -> str:
    """Seconds and the error, as one entry."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        strengths = run()
        seconds.append(time.process_time() - start)
    error = float((strengths - strengths.mean() - optimum).abs().max())
    return f"{min(seconds):.3f} s, {error:.0e}"


def measure_row(players: int) -> dict[str, Any]:
    """Time and error of every method."""
    winners, losers = play_games(players)
    pairs = list(zip(winners, losers, strict=True))
    record = rankings.GameRecord.from_games(winners, losers, players)
    newton = rankings.BradleyTerry(iteration=rankings.LikelihoodNewtonMap)
    optimum = newton.fit(record, tolerance=1e-12).value
    row: dict[str, Any] = {"players": players, "games": len(pairs)}
    for name, iteration in OURS.items():
        model = rankings.BradleyTerry(iteration=iteration)
        row[name] = measure(
            lambda model=model: (
                model.fit(rankings.GameRecord.from_games(winners, losers, players), tolerance=TOLERANCE).value
            ),
            optimum,
        )
    for name, solver in THEIRS.items():
        is_run = players <= (MAX_EXCESS if name == "choix mm" else MAX_DENSE)
        repeats = 1 if players == MAX_DENSE else 3
        run = lambda solver=solver: torch.tensor(solver(players, pairs))  # noqa: E731
        row[name] = measure(run, optimum, repeats) if is_run else "not run"
    return row


def main() -> None:
    """Measure, and write the result."""
    rows = []
    for players in SIZES:
        rows.append(measure_row(players))
        print(rows[-1], flush=True)
    remarks = (
        f"choix {version('choix')}; its methods hold matrices of players times players, and were not run on "
        "10,000 (MM, which took longest, on 1,000 neither)."
    )
    harness.write_result(
        "rankings_are_as_fast_as_choix", {"Seconds and errors": harness.table(rows), "Remarks": remarks}
    )


if __name__ == "__main__":
    main()
