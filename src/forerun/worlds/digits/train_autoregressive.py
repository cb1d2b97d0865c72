"""Train an image network: `python -m forerun.worlds.digits.train_autoregressive made --steps 6000 --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from forerun.sequence.autoregressive.logistic import pixel_bits, to_values
from forerun.sequence.autoregressive.made import Made
from forerun.sequence.autoregressive.pixelcnn import PixelCNN
from forerun.worlds.digits.autoregressive import IMAGE_NETWORKS
from forerun.worlds.digits.data import load_digit_levels
from forerun.worlds.training import TrainingResult, TrainingStage, plain_cosine, train_network
from forerun.worlds.weights import command_line, dated_versions, save_weights, write_facts

HELD_OUT = 297  # images that are only looked at to measure the loss
IMAGE_BATCH = 64


def mean_bits(network: Made | PixelCNN, levels: Tensor) -> Tensor:
    """Return the bits a pixel that a network needs for images `(N, 64)` of grey levels."""
    return pixel_bits(network(to_values(levels)), levels).mean()


def image_stage(name: str, steps: int) -> TrainingStage:
    """Return the recipe of the shipped image networks, for a number of steps."""
    return TrainingStage(
        name=f"digits-{name}",
        steps=steps,
        rate=2e-3,
        schedule=plain_cosine,
        betas=(0.9, 0.999),
        weight_decay=0.02,
        horizon=None,
        loss_name="bits a pixel",
        loss_horizon=max(1, steps // 10),
        report_every=max(1, steps // 20),
    )


def train_image_network(
    name: str,
    levels: Tensor,
    *,
    steps: int,
    seed: int,
    work: Path | None = None,
) -> TrainingResult[Made | PixelCNN]:
    """Train an image network; the loss of its record is in bits a pixel.

    Args:
        name: a key of `IMAGE_NETWORKS`.
        levels: images `(N, 64)` of grey levels.
        steps: of the optimiser.
        seed: of weights and batches.
        work: folder of the unfinished run, from which the same call goes on; None keeps nothing.
    """
    torch.manual_seed(seed)
    network: Made | PixelCNN = IMAGE_NETWORKS[name]()
    generator = torch.Generator().manual_seed(seed)

    def batch_loss(network: Made | PixelCNN, step: int) -> Tensor:
        rows = torch.randint(len(levels), (IMAGE_BATCH,), generator=generator)
        return mean_bits(network, levels[rows])

    return train_network(
        network,
        batch_loss,
        image_stage(name, steps),
        work,
        generator=generator,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's unless passed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse_options(words)
    torch.set_num_threads(1)
    levels = load_digit_levels()
    levels = levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(options.seed))]
    training_levels, held_out_levels = levels[HELD_OUT:], levels[:HELD_OUT]
    result = train_image_network(
        options.network,
        training_levels,
        steps=options.steps,
        seed=options.seed,
        work=options.work,
    )
    with torch.no_grad():
        held_out_bits = mean_bits(result.network, held_out_levels).item()
    save_weights(result.network, options.out / f"{options.network}.safetensors")
    facts = {
        "config": result.network.config,
        "command": command_line("forerun.worlds.digits.train_autoregressive", words),
        "seed": options.seed,
        "steps": options.steps,
        "bits a pixel, training": round(result.record.loss, 4),
        "bits a pixel, held out": round(held_out_bits, 4),
        "seconds": round(result.record.seconds),
        **dated_versions(),
        "data": f"scikit-learn load_digits, 1797 images 8x8, {HELD_OUT} of them held out",
    }
    write_facts(options.out / f"{options.network}.json", facts)


def _parse_options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train an image network that ships with forerun.")
    parser.add_argument("network", choices=sorted(IMAGE_NETWORKS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the weights and the JSON beside them",
    )
    parser.add_argument("--work", type=Path, help="folder for the unfinished run: the same line goes on")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
