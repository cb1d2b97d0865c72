"""A small network trained on scikit-learn's digits by any optimiser and schedule, in order and ahead."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from forerun import Sliding
from forerun.optim import Loop, ScheduleFree
from forerun.studies.optim._logistic_runs import cosine_to

DIGIT_BATCH = 64
HELD_OUT_SHARE = 4  # every fourth image


@cache
def split_digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images and labels to train on, and those held out; images `(N, 64)` in [0, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = torch.tensor(data.data).float() / 16, torch.tensor(data.target)
    is_held = torch.arange(len(images)) % HELD_OUT_SHARE == 0
    return images[~is_held], labels[~is_held], images[is_held], labels[is_held]


def digit_network(seed: int) -> nn.Module:
    """Return a perceptron with one hidden layer, initialised from a seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def digit_loss(network: nn.Module, step: int) -> Tensor:
    """Return the loss of a step, on a batch drawn from torch's generator."""
    images, labels, _, _ = split_digits()
    batch = torch.randint(len(images), (DIGIT_BATCH,))
    return nn.functional.cross_entropy(network(images[batch]), labels[batch])


def train_digits(
    make: Callable[[nn.Module], Any],
    steps: int,
    seed: int,
    *,
    schedule: Callable[[int], float] = lambda step: 1.0,
    checkpoints: Sequence[int] = (),
) -> dict[int, float]:
    """Return the share of held-out digits that are recognised after the steps of `checkpoints`, and at the end."""
    network = digit_network(seed)
    optimizer = make(network)
    scheduler = LambdaLR(optimizer, schedule)
    shares = {}
    for step in range(steps):
        optimizer.zero_grad()
        digit_loss(network, step).backward()
        optimizer.step()
        scheduler.step()
        if step + 1 in {*checkpoints, steps}:
            with optimizer.averaged() if isinstance(optimizer, ScheduleFree) else nullcontext():
                shares[step + 1] = measure_accuracy(network)
    return shares


@torch.no_grad()
def measure_accuracy(network: nn.Module) -> float:
    """Return the share of held-out digits that a network recognises."""
    _, _, images, labels = split_digits()
    return float((network(images).argmax(1) == labels).float().mean())


def count_rounds(makes: Mapping[str, Callable[..., Any]], steps: int) -> dict[str, int]:
    """Return the rounds that windows of eight steps take to train the network by some optimisers."""
    figures = {"steps ahead": steps}
    for name, make in makes.items():
        network = digit_network(0)
        loop = Loop(network, make(network.parameters(), lr=0.1), digit_loss, window=Sliding(8), witness=False)
        figures[f"rounds, {name}"] = loop.run(steps).solution().rounds
    return figures


def compare_with_cosine(horizons: Sequence[int], seeds: int) -> dict[str, Any]:
    """Return accuracies of schedule-free AdamW, in one run for all horizons, and of Adam with a cosine for each."""

    def make_free(network: nn.Module) -> ScheduleFree:
        return ScheduleFree.adamw(network.parameters(), 0.01)

    def make_adam(network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), 0.01)

    free = [train_digits(make_free, horizons[-1], seed, checkpoints=horizons) for seed in range(seeds)]
    figures: dict[str, Any] = {"digit steps": horizons[-1]}
    for steps in horizons:
        shape = cosine_to(steps)
        scheduled = [train_digits(make_adam, steps, seed, schedule=shape)[steps] for seed in range(seeds)]
        figures["free"] = figures[f"digits, schedule-free, {steps}"] = statistics.fmean(run[steps] for run in free)
        figures["cosine"] = figures[f"digits, cosine, {steps}"] = statistics.fmean(scheduled)
    return figures
