"""Learners' languages: laws of composition in rationals, SGD as a functor, and propositions proven and refuted."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from forerun import solve
from forerun.exact import learners
from forerun.studies.pictures import IN_ORDER_COLOUR, OURS_COLOUR, RIVAL_COLOUR
from forerun.studies.study import Claim, Figures, Scale, Study
from forerun.view.canvas import INK_COLOUR, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAWS = {"quick": 200, "full": 3000}
SEEDS = {"quick": 1, "full": 5}
TRAINING_STEPS, LEARNING_RATE, POSITIONS, SPEEDS = 60, 0.05, range(-20, 21), range(-12, 13)


def run(scale: Scale) -> Figures:
    """Test laws on random learners, hold composed training against SGD, and decide four propositions."""
    random = Random(0)
    figures: dict[str, Any] = {"laws": 4 * LAWS[scale], "laws held": 0}
    for _ in range(LAWS[scale]):
        f, g, h, k = (learners.draw_learner(random) for _ in range(4))
        a, b = Fraction(random.randint(-9, 9), 4), Fraction(random.randint(-9, 9), 7)
        figures["laws held"] += sum(learners.check_laws((f, g, h, k), a, b).values())
    runs = [_train(seed) for seed in range(SEEDS[scale])]
    figures |= {name: max(run[name] for run in runs) for name in runs[0]}
    safe = find_safe_walks()
    figures |= {"states": len(safe.value) - 1, "safe states": int(safe.value.sum()), "rounds": safe.rounds}
    return figures | _decide_propositions()


def _train(seed: int) -> dict[str, float]:
    """Return how far composed learners are from SGD by autograd, and from the run ahead by `solve`."""
    torch.manual_seed(seed)
    first, second = nn.Sequential(nn.Linear(4, 8), nn.Tanh()).double(), nn.Linear(8, 2).double()
    composed = learners.learner_of_module(first, rate=LEARNING_RATE).then(
        learners.learner_of_module(second, rate=LEARNING_RATE)
    )
    inputs, targets = (
        torch.randn(TRAINING_STEPS, 4, dtype=torch.float64),
        torch.randn(TRAINING_STEPS, 2, dtype=torch.float64),
    )
    path = learners.machine_of_learner(composed).run(zip(inputs, targets, strict=True))
    process = learners.process_of_learner(composed, inputs, targets)
    solution = solve(process, composed.parameters, tolerance=1e-9, window=20)
    plain = learners.train_by_sgd(nn.Sequential(first, second), inputs, targets, rate=LEARNING_RATE)
    last, ahead, trained = (torch.cat([leaf.flatten() for leaf in tree]) for tree in (path[-1], solution.value, plain))
    return {
        "distance to SGD": float((last - trained).abs().max()),
        "distance ahead": float((last - ahead).abs().max()),
        "rounds ahead": solution.rounds,
        "evaluations ahead": solution.evaluations,
    }


def _decide_propositions() -> dict[str, Any]:
    """Prove the simplex for mirror descent, and refute the balance of two layers for gradient descent."""
    simplex = learners.prove_invariant(*learners.mirror_descent(4))
    layer = learners.scale_learner(Fraction(1), Fraction(1, 10))
    machine = learners.machine_of_learner(layer.then(layer))
    moves = [((2, 1), example) for example in product(range(4), repeat=2)]
    balance = learners.search_violation(machine, lambda p: bool(p[0] ** 2 - p[1] ** 2 == 3), moves)
    (v, w), example, _ = balance.counterexample or ((0, 0), (0, 0), None)
    return {"simplex": str(simplex), "balance": f"refuted at {v}, {w} by {example}" if v else "not refuted"}


def find_safe_walks() -> learners.SafeStates:
    """Return from where a pushed and braked body can leave an interval: the largest proposition that it keeps."""

    def move(state: tuple[int, int], push: int) -> tuple[int, int]:
        brake = round(state[0] / 4) + round(state[1] / 2)
        speed = state[1] + push - max(-2, min(2, brake))
        return state[0] + speed, speed

    machine = learners.MooreMachine(lambda state: state, move, (0, 0))
    table = learners.FiniteMachine.from_machine(machine, list(product(POSITIONS, SPEEDS)), (-1, 0, 1))
    return learners.find_safe_states(table, torch.arange(len(table.transitions)) < len(table.transitions) - 1)


def draw(figures: Figures) -> Figure:
    """Draw what stays safe, and how the balance of two layers is lost."""
    figure = new_figure(11.0, 4.4)
    safe_axes, balance = figure.subplots(1, 2, width_ratios=[1.15, 1])
    leaving = find_safe_walks().leaving[:-1].reshape(len(POSITIONS), len(SPEEDS)).double()
    leaving[leaving < 0] = torch.nan
    safe_axes.pcolormesh(list(POSITIONS), list(SPEEDS), leaving.T.numpy(), cmap="YlOrRd_r")
    safe_axes.set(xlabel="position", ylabel="speed", facecolor=OURS_COLOUR)
    style_axes(safe_axes, "What of a proposition is kept", "green: never pushed outside; else after how few steps")
    for rate, colour in ((0.02, OURS_COLOUR), (0.15, RIVAL_COLOUR), (0.3, IN_ORDER_COLOUR)):
        layers = learners.scale_learner(2.0, rate).then(learners.scale_learner(1.0, rate))
        states = learners.machine_of_learner(layers).run([(1.0, 0.2)] * 40)
        balance.plot([v * v - w * w for v, w in states], color=colour, linewidth=2, label=f"steps of {rate:g}")
    balance.set_xlabel("step")
    balance.legend(frameon=False, labelcolor=INK_COLOUR, fontsize=9)
    style_axes(balance, "Refuted: the balance of two layers", "v² − w² is kept by the flow, and not by steps of SGD")
    return figure


STUDY = Study(
    number=22,
    title="Learners' languages",
    paper="Spivak, arXiv 2103.01189 (2021)",
    claims=(
        Claim(
            "Learners form a category, with pairs",
            paper="Learn is Para(SLens)",
            here="{laws held} of {laws} laws on random learners, exactly",
            holds=lambda figures: figures["laws held"] == figures["laws"],
        ),
        Claim(
            "Gradient descent is a functor from modules to learners",
            paper="Backprop as functor",
            here="composed learners within {distance to SGD:.0e} of autograd's SGD",
            holds=lambda figures: figures["distance to SGD"] < 1e-12,
        ),
        Claim(
            "Learners are dynamical systems, about which propositions are decided",
            paper="coalgebras, whose category is a topos",
            here="the simplex under mirror descent is {simplex}; balance: {balance}",
            holds=lambda figures: figures["simplex"] == "proven" and figures["balance"].startswith("refuted"),
        ),
        Claim(
            "The largest proposition that a machine keeps is a greatest fixed point",
            paper="ours",
            here="{safe states} of {states} states, in {rounds} rounds",
            holds=lambda figures: 0 < figures["safe states"] < figures["states"],
        ),
        Claim(
            "A learner is a process that runs ahead, and a process is a machine",
            paper="ours",
            here="60 steps in {rounds ahead} rounds, {distance ahead:.0e} apart",
            holds=lambda figures: figures["distance ahead"] < 1e-6,
        ),
    ),
    run=run,
    draw=draw,
    engine="A learner is a `Process`: 60 steps of SGD take {rounds ahead} rounds, {evaluations ahead} evaluations; the "
    "largest invariant is a `fixed_point`, exact after {rounds} rounds.",
    deviates="The paper has no experiment: learners of one number in rationals, networks of 58 parameters.",
)
