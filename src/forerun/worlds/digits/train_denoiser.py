"""Train the digits' denoiser: `python -m forerun.worlds.digits.train_denoiser --steps 45000 --seed 0 --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from forerun.worlds.digits.data import load_digits
from forerun.worlds.digits.denoiser import DigitsDenoiser
from forerun.worlds.training import TrainingResult, TrainingStage, plain_cosine, train_network
from forerun.worlds.weights import command_line, dated_versions, save_weights, write_facts

DENOISER_BATCH = 256


def velocity_loss(
    network: DigitsDenoiser,
    clean: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Return the mean square error of the velocity at random timesteps (Salimans and Ho 2022).

    Args:
        network: the denoiser.
        clean: images `(N, 64)` in [-1, 1].
        generator: of the timesteps and the noise.
    """
    t = torch.randint(len(network.schedule.alphas_cumprod), (len(clean),), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    signal_rate, noise_rate = network.schedule.rates(t, clean)
    noisy = signal_rate * clean + noise_rate * noise
    velocity = signal_rate * noise - noise_rate * clean
    return nn.functional.mse_loss(network.predict_velocity(noisy, t), velocity)


def denoiser_stage(steps: int) -> TrainingStage:
    """Return the recipe of the shipped denoiser, for a number of steps."""
    return TrainingStage(
        name="digits-denoiser",
        steps=steps,
        rate=2e-3,
        schedule=plain_cosine,
        betas=(0.9, 0.999),
        max_norm=None,
        horizon=2000,
        loss_horizon=max(1, steps // 10),
        save_every=2000,
        report_every=max(1, steps // 20),
    )


def train_denoiser(
    data: Tensor,
    *,
    steps: int,
    seed: int,
    work: Path | None = None,
) -> TrainingResult[DigitsDenoiser]:
    """Train a denoiser of images `(N, 64)` and return its average over the last steps.

    Args:
        data: the images, in [-1, 1].
        steps: of the optimiser.
        seed: of weights, batches and noise.
        work: folder of the unfinished run, from which the same call goes on; None keeps nothing.
    """
    torch.manual_seed(seed)
    network = DigitsDenoiser()
    generator = torch.Generator().manual_seed(seed)

    def batch_loss(network: DigitsDenoiser, step: int) -> Tensor:
        rows = torch.randint(len(data), (DENOISER_BATCH,), generator=generator)
        return velocity_loss(network, data[rows], generator)

    return train_network(
        network,
        batch_loss,
        denoiser_stage(steps),
        work,
        generator=generator,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's unless passed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse_options(words)
    torch.set_num_threads(1)
    result = train_denoiser(
        load_digits(),
        steps=options.steps,
        seed=options.seed,
        work=options.work,
    )
    save_weights(result.network, options.out / "digits.safetensors")
    facts = {
        "config": result.network.config,
        "command": command_line("forerun.worlds.digits.train_denoiser", words),
        "seed": options.seed,
        "steps": options.steps,
        "loss": round(result.record.loss, 5),
        "seconds": round(result.record.seconds),
        **dated_versions(),
        "data": "scikit-learn load_digits, 1797 images 8x8",
    }
    write_facts(options.out / "digits.json", facts)


def _parse_options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the digits' denoiser that ships with forerun.")
    parser.add_argument("--steps", type=int, default=45000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for digits.safetensors and digits.json",
    )
    parser.add_argument("--work", type=Path, help="folder for the unfinished run: the same line goes on")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
