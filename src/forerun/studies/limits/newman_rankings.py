"""Rankings: Newman's iteration against Zermelo's of 1929, in sweeps over all players."""

from __future__ import annotations

from dataclasses import replace
from math import log, nan
from statistics import mean
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from forerun.limits import AndersonMixing, LimitMethod, Plain, rankings
from forerun.studies.distances import trace_distances
from forerun.studies.pictures import IN_ORDER_COLOUR, LINE_COLOUR, OURS_COLOUR, RIVAL_COLOUR, draw_counts
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISTANCE = 1e-6  # of the largest log strength from the optimum, where the sweeps are counted
RANKING_SEARCHES: dict[str, tuple[Any, LimitMethod]] = {
    "Zermelo": (rankings.ZermeloMap, Plain()),
    "Newman": (rankings.SweptNewmanMap, Plain()),
    "mixed": (rankings.NewmanMap, AndersonMixing(10)),
}
RANKING_COLOURS = {"Zermelo": RIVAL_COLOUR, "Newman": IN_ORDER_COLOUR, "mixed": OURS_COLOUR}
LABELS = {"Zermelo": "Zermelo, 1929", "Newman": "Newman, player after player", "mixed": "Newman at once, mixed"}
PAIRINGS = {"pairs at random": 0.0, "two tiers": 0.0, "with a prior": 1.0, "many players": 1.0}
LEAGUE_SIZES = {"quick": (24, 1500, 300, 1), "full": (100, 50_000, 10_000, 3)}  # players, games, many players, seeds
SWEEP_MARKS = tuple(sorted({round(10 ** (place / 8)) for place in range(36)}))  # sweeps at which the picture has points


def run(scale: Scale) -> Figures:
    """Count sweeps on games at random, between tiers, with a prior and of many players; and fit ties."""
    players, games, many, seeds = LEAGUE_SIZES[scale]
    figures: dict[str, Any] = {"players": players, "games": games, "many players": many, "seeds": seeds}
    differences = []
    for case, prior in tqdm(PAIRINGS.items(), desc="games", leave=False):
        size = {"many players": (many, 12 * many)}.get(case, (players, games))
        runs = [_trace_searches(_play_games(case, *size, seed), prior) for seed in range(seeds)]
        for name in RANKING_SEARCHES:
            figures[f"sweeps, {case}, {name}"] = mean(len(run[name]) - 1 for run in runs)
            differences += [run[name][-1] for run in runs]
            curve = dict(enumerate(runs[0][name]))
            figures |= {f"{case}, {name}, {mark}": curve[mark] for mark in SWEEP_MARKS if mark in curve}
        figures[f"ratio, {case}"] = figures[f"sweeps, {case}, Zermelo"] / figures[f"sweeps, {case}, Newman"]
    figures["largest mixed"] = max(figures[f"sweeps, {case}, mixed"] for case in PAIRINGS)
    return figures | {"largest difference": max(differences)} | _fit_ties(players, games)


def _play_games(case: str, players: int, games: int, seed: int) -> rankings.GameRecord:
    """Return games of players with normal log strengths: of any two, or of two of different tiers."""
    generator = torch.Generator().manual_seed(seed)
    spread = {"pairs at random": 3.0, "two tiers": 0.3}.get(case, 1.0)
    strengths = spread * torch.randn(players, generator=generator, dtype=torch.float64)
    (first, second), half = torch.randint(players, (2, games), generator=generator), players // 2
    if case == "two tiers":
        first, second, strengths[:half] = first % half, half + second % half, strengths[:half] + 4
    # everybody wins and loses once more, so that all strengths are finite
    sides = torch.cat([torch.arange(players), torch.arange(players).roll(half)])
    once_more = rankings.GameRecord.from_games(sides, sides.roll(players), players)
    return rankings.draw_games(strengths, first, second, generator=generator).join(once_more)


def _trace_searches(record: rankings.GameRecord, prior: float) -> dict[str, list[float]]:
    """Return the distances from the optimum of every search, sweep by sweep."""
    problem = rankings.RankingProblem(record, prior)
    newton = rankings.BradleyTerry(prior, iteration=rankings.LikelihoodNewtonMap).fit(record, tolerance=1e-10).value
    return {
        name: trace_distances(iteration(problem), 0 * newton, newton, method=method, distance=DISTANCE)
        for name, (iteration, method) in RANKING_SEARCHES.items()
    }


def _fit_ties(players: int, games: int) -> dict[str, float]:
    """Return what is found of a tie parameter and a home advantage, and the evaluations."""
    generator = torch.Generator().manual_seed(0)
    strengths = torch.randn(players, generator=generator, dtype=torch.float64)
    pairs = torch.randint(players, (2, games), generator=generator)
    ties = rankings.Davidson()
    truth: dict[str, Any] = {"tie_parameter": log(0.5), "home_advantage": 0.4}
    record = rankings.draw_games(strengths, *pairs, ties=ties, generator=generator, **truth)
    model = rankings.BradleyTerry(ties=ties, home=True)
    mixed, newton = model.fit(record), replace(model, iteration=rankings.LikelihoodNewtonMap).fit(record)
    names = ("tie parameter", "home advantage", "evaluations with ties", "difference with ties")
    difference = float((mixed.value - newton.value).abs().max())
    values = (mixed.tie_strength, mixed.home_advantage, mixed.limit.evaluations, difference)
    return dict(zip(names, values, strict=True))


def draw(figures: Figures) -> Figure:
    """Draw the distance from the optimum over sweeps, and the sweeps of every case."""
    figure = new_figure(11.5, 4.4)
    curves, counts = figure.subplots(1, 2, width_ratios=(5, 6))
    for name, colour in RANKING_COLOURS.items():
        distances = [figures.get(f"pairs at random, {name}, {mark}", nan) for mark in SWEEP_MARKS]
        curves.loglog(SWEEP_MARKS, distances, color=colour, linewidth=2.5, marker="o", markersize=4, label=LABELS[name])
        draw_counts(counts, [figures[f"sweeps, {case}, {name}"] for case in PAIRINGS], name, colour)
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    style_axes(curves, "Sweeps to the same strengths", "distance from the optimum over sweeps, pairs at random")
    counts.grid(axis="y", color=LINE_COLOUR, linewidth=8, zorder=0)
    counts.set_xscale("log")
    counts.set_yticks(range(len(PAIRINGS)), list(PAIRINGS))
    counts.set_ylim(len(PAIRINGS) - 0.5, -0.6)
    style_axes(counts, "Whoever played whom", "sweeps to 1e-6 from the optimum")
    return figure


STUDY = Study(
    number=14,
    title="Rankings, a hundred times faster",
    paper="Newman, arXiv 2207.00076 (JMLR 2023)",
    claims=(
        Claim(
            "Newman's iteration ends at the strengths of largest likelihood, as Zermelo's does",
            paper="identical results",
            here="largest difference from Newton's {largest difference:.1e}",
            holds=lambda figures: figures["largest difference"] <= 2 * DISTANCE,
        ),
        Claim(
            "It needs a hundred times fewer sweeps than Zermelo's in some cases",
            paper="over a hundred times faster in some cases",
            here="{ratio, pairs at random:.0f} times fewer with pairs at random, {ratio, two tiers:.0f} between two "
            "tiers, {ratio, with a prior:.1f} with a prior, {ratio, many players:.1f} of {many players} players",
            holds=lambda figures: figures["ratio, two tiers"] >= 100,
        ),
        Claim(
            "All players at once and mixed, no case needs more than 25 sweeps",
            paper="ours",
            here="{largest mixed:.0f} at most",
            holds=lambda figures: figures["largest mixed"] <= 25,
        ),
        Claim(
            "Ties and the advantage of being at home are found by the same rule",
            paper="generalised to ties",
            here="tie parameter {tie parameter:.2f} of 0.5, home advantage {home advantage:.2f} of 0.4, in "
            "{evaluations with ties} evaluations; {difference with ties:.1e} from Newton's strengths",
            holds=lambda figures: figures["difference with ties"] < 1e-6 and abs(figures["tie parameter"] - 0.5) < 0.1,
        ),
    ),
    run=run,
    draw=draw,
    engine="Mixed, it takes {sweeps, pairs at random, mixed:.0f} evaluations where player after player takes "
    "{sweeps, pairs at random, Newman:.0f} sweeps and Zermelo {sweeps, pairs at random, Zermelo:.0f}; with a prior "
    "{sweeps, with a prior, mixed:.0f}, {sweeps, with a prior, Newman:.0f} and {sweeps, with a prior, Zermelo:.0f}.",
    deviates="Games drawn from the model: {players} players and {games} games, {many players} where there are many, "
    "{seeds} seeds, until the largest log strength is 1e-6 from the optimum; Zermelo moves all at once.",
)
