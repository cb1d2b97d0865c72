"""Train an image network: `python -m forerun.worlds.digits.train_autoregressive made --steps 6000 --out DIR`."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forerun.sequence.autoregressive.logistic import pixel_bits, to_values
from forerun.worlds.digits.autoregressive import NETWORKS, load_digit_levels

HELD_OUT = 297  # images that are only looked at to tell the loss


def mean_bits(network: nn.Module, levels: Tensor) -> Tensor:
    """Bits a pixel of images `(N, 64)`."""
    return pixel_bits(network(to_values(levels)), levels).mean()


def train(network: nn.Module, levels: Tensor, *, steps: int, seed: int, batch: int = 64) -> float:
    """Train in place; returns the mean loss of the last tenth of the steps, in bits a pixel."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    for step in range(steps):
        loss = mean_bits(network, levels[torch.randint(len(levels), (batch,), generator=generator)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        cosine.step()
        losses.append(loss.item())
        if (step + 1) % max(1, steps // 20) == 0:
            print(f"step {step + 1}/{steps}  {_tail_mean(losses):.4f} bits a pixel", flush=True)
    return _tail_mean(losses)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments` are the command line's unless given."""
    parser = argparse.ArgumentParser(description="Train an image network that ships with forerun.")
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and the JSON beside them")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    begun = time.perf_counter()
    network = NETWORKS[options.network]()
    levels = load_digit_levels()
    levels = levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(options.seed))]
    loss = train(network, levels[HELD_OUT:], steps=options.steps, seed=options.seed)
    with torch.no_grad():
        held_out = mean_bits(network, levels[:HELD_OUT]).item()
    options.out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, options.out / f"{options.network}.safetensors")
    facts = {
        "config": network.config,
        "command": shlex.join(["python", "-m", "forerun.worlds.digits.train_autoregressive", *given]),
        "seed": options.seed,
        "steps": options.steps,
        "bits a pixel, training": round(loss, 4),
        "bits a pixel, held out": round(held_out, 4),
        "seconds": round(time.perf_counter() - begun),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "data": f"scikit-learn load_digits, 1797 images 8x8, {HELD_OUT} of them held out",
    }
    (options.out / f"{options.network}.json").write_text(json.dumps(facts, indent=2) + "\n")


def _tail_mean(losses: list[float]) -> float:
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


if __name__ == "__main__":
    main()
