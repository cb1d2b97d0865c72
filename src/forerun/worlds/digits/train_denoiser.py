"""Train the digits' denoiser: `python -m forerun.worlds.digits.train_denoiser --steps 45000 --seed 0 --out DIR`."""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forerun.worlds.digits.denoiser import DigitsDenoiser, load_digits


@dataclass(frozen=True)
class DenoiserTraining:
    """Of one training run; `horizon` is the number of steps that the average of the weights looks back."""

    steps: int
    seed: int
    batch: int = 256
    rate: float = 2e-3
    weight_decay: float = 1e-2
    horizon: int = 2000


def velocity_loss(network: DigitsDenoiser, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Mean square error of the velocity at random timesteps (Salimans and Ho 2022); `clean` is `(N, 64)`."""
    t = torch.randint(len(network.schedule.alphas_cumprod), (len(clean),), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    signal_rate, noise_rate = network.schedule.rates(t, clean)
    predicted = network.velocity(signal_rate * clean + noise_rate * noise, t)
    return nn.functional.mse_loss(predicted, signal_rate * noise - noise_rate * clean)


def train(network: DigitsDenoiser, data: Tensor, settings: DenoiserTraining) -> tuple[DigitsDenoiser, float]:
    """The averaged network and the mean loss of the last tenth of the steps. Trains `network` in place."""
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    average = copy.deepcopy(network)
    losses: list[float] = []
    for step in range(settings.steps):
        batch = data[torch.randint(len(data), (settings.batch,), generator=generator)]
        loss = velocity_loss(network, batch, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cosine.step()
        # the average forgets its beginning sooner while it is short
        _average(average, network, min(1 - 1 / settings.horizon, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if (step + 1) % max(1, settings.steps // 20) == 0:
            print(f"step {step + 1}/{settings.steps}  loss {_tail_mean(losses):.5f}", flush=True)
    return average, _tail_mean(losses)


def save(network: DigitsDenoiser, out: Path, facts: dict[str, Any]) -> None:
    """Write `digits.safetensors` (float16) and `digits.json` (the network's config and `facts`) into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, out / "digits.safetensors")
    (out / "digits.json").write_text(json.dumps({"config": network.config, **facts}, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments` are the command line's unless given."""
    parser = argparse.ArgumentParser(description="Train the digits' denoiser that ships with forerun.")
    parser.add_argument("--steps", type=int, default=45000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for digits.safetensors and digits.json")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    begun = time.perf_counter()
    network, loss = train(DigitsDenoiser(), load_digits(), DenoiserTraining(steps=options.steps, seed=options.seed))
    facts = {
        "command": shlex.join(["python", "-m", "forerun.worlds.digits.train_denoiser", *given]),
        "seed": options.seed,
        "steps": options.steps,
        "loss": round(loss, 5),
        "seconds": round(time.perf_counter() - begun),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "data": "scikit-learn load_digits, 1797 images 8x8",
    }
    save(network, options.out, facts)


def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for mean, current in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(current, 1 - decay)


def _tail_mean(losses: list[float]) -> float:
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


if __name__ == "__main__":
    main()
