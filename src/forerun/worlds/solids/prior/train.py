"""Train the prior of `forerun text3d`: `python -m forerun.worlds.solids.prior.train --out DIR --work DIR`.

Every shape is rendered from random cameras; then the text encoder learns what prompts mean, and the UNet and it
to denoise pictures, given the prompt and the camera. The same command after an interruption goes on where it stopped.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from forerun.optim.text3d.camera import Cameras, random_cameras
from forerun.worlds.solids.prior import networks
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.prompts import SHAPE_NAMES, SOLID_COLOURS, all_solids, write_prompt
from forerun.worlds.solids.render import paint_pictures, shade_shape
from forerun.worlds.text import TextReader, TextUNet, tokenize_texts
from forerun.worlds.training import TrainingStage, read_records, train_network
from forerun.worlds.velocity import velocity_loss
from forerun.worlds.weights import command_line, dated_versions, write_facts

SHAPE_FREQUENCIES = {"mug": 3, "cube": 2, "pyramid": 2}  # others have one: handles and corners take longest
SILENT_SHARE = 0.12  # share of the pictures without a prompt (Ho and Salimans 2022)
VIEWS_AT_ONCE = 32
READER_BATCH = 64


@final
@dataclass(frozen=True)
class PictureBatch:
    """Pictures in [-1, 1], their prompts, and the features of their cameras."""

    pictures: Tensor
    prompts: list[str]
    camera_features: Tensor


@final
@dataclass(frozen=True)
class ShapeViews:
    """What the shapes look like: `shaded` `(shapes, views, 2, side, side)` and the cameras `(shapes * views,)`."""

    shaded: Tensor
    cameras: Cameras

    def draw_batch(self, count: int, rng: random.Random) -> PictureBatch:
        """Return random pictures of random solids."""
        solids = rng.choices(all_solids(), _solid_frequencies(), k=count)
        shapes = torch.tensor([solid.labels[1] for solid in solids])
        views_per_shape = self.shaded.shape[1]
        views = torch.randint(views_per_shape, (count,))
        cameras = self.cameras[shapes * views_per_shape + views]
        colours = torch.tensor([solid.rgb for solid in solids])
        pictures = paint_pictures(self.shaded[shapes, views].float(), colours, cameras.background)
        prompts = []
        for solid in solids:
            silent = rng.random() < SILENT_SHARE
            prompts.append("" if silent else write_prompt(solid, rng))
        return PictureBatch(2 * pictures - 1, prompts, cameras.features)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's unless passed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse_options(words)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    views = render_shapes(options.views, options.seed)
    painter = train_prior(views, options)
    facts = {
        "command": command_line("forerun.worlds.solids.prior.train", words),
        "seed": options.seed,
        "stages": read_records(options.work),
        **dated_versions(),
    }
    save_prior(painter, options.out, facts)


def render_shapes(views: int, seed: int) -> ShapeViews:
    """Return every shape from `views` random cameras."""
    cameras = random_cameras(len(SHAPE_NAMES) * views, torch.Generator().manual_seed(seed))
    shaded = []
    for index, shape in enumerate(SHAPE_NAMES):
        first, stop = index * views, (index + 1) * views
        batches = []
        for start in range(first, stop, VIEWS_AT_ONCE):
            batch = cameras[start : min(start + VIEWS_AT_ONCE, stop)]
            batches.append(shade_shape(shape, batch, PRIOR_SIDE).half())
        shaded.append(torch.cat(batches))
    return ShapeViews(torch.stack(shaded), cameras)


def train_prior(views: ShapeViews, options: argparse.Namespace) -> TextUNet:
    """Train the text encoder alone, on what prompts mean; then the UNet and the encoder together."""
    reader = train_prompt_reader(options)
    tokenizer = networks.build_prompt_tokenizer()
    schedule = networks.build_noise_schedule()

    def batch_loss(painter: TextUNet, step: int) -> Tensor:
        batch = views.draw_batch(options.batch, random.Random(step))
        tokens = tokenize_texts(batch.prompts, tokenizer)

        def predict(noisy: Tensor, t: Tensor) -> Tensor:
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            predicted: Tensor = painter(
                noisy,
                t,
                tokens,
                class_labels=batch.camera_features,
            )
            return predicted

        return velocity_loss(predict, batch.pictures, schedule)

    encoder = reader.encoder.train().requires_grad_(True)
    unet = networks.build_prior_unet().to(memory_format=torch.channels_last)
    stage = TrainingStage(
        name="unet",
        steps=options.steps,
        rate=options.rate,
        save_every=100,
    )
    return train_network(
        TextUNet(unet, encoder),
        batch_loss,
        stage,
        options.work,
        seed=options.seed,
    ).network


def train_prompt_reader(options: argparse.Namespace) -> TextReader:
    """Train a text encoder on what prompts mean: a colour and a shape."""
    tokenizer = networks.build_prompt_tokenizer()
    groups = (len(SOLID_COLOURS), len(SHAPE_NAMES))

    def batch_loss(reader: TextReader, step: int) -> Tensor:
        rng = random.Random(step)
        solids = rng.choices(all_solids(), k=READER_BATCH)
        colours, shapes = torch.tensor([solid.labels for solid in solids]).unbind(-1)
        prompts = [write_prompt(solid, rng) for solid in solids]
        logits = reader(tokenize_texts(prompts, tokenizer))
        colour_logits, shape_logits = logits.split(groups, -1)
        return functional.cross_entropy(colour_logits, colours) + functional.cross_entropy(shape_logits, shapes)

    reader = TextReader(networks.build_prompt_encoder(tokenizer), sum(groups))
    stage = TrainingStage(
        name="text",
        steps=options.text_steps,
        rate=2e-3,
        horizon=50,
    )
    return train_network(
        reader,
        batch_loss,
        stage,
        options.work,
        seed=options.seed,
    ).network


def save_prior(painter: TextUNet, out: Path, facts: dict[str, Any]) -> None:
    """Write the folder of the prior, float16, with `training.json` (`facts`)."""
    painter.unet.to(memory_format=torch.contiguous_format)
    painter.unet.half().save_pretrained(out / "unet")
    painter.encoder.half().save_pretrained(out / "text_encoder")
    networks.build_prompt_tokenizer().save_pretrained(out / "tokenizer")
    networks.build_noise_schedule().save_pretrained(out / "scheduler")
    write_facts(out / "training.json", facts)
    print(f"saved to {out}", flush=True)


def _solid_frequencies() -> list[int]:
    return [SHAPE_FREQUENCIES.get(solid.shape, 1) for solid in all_solids()]


def _parse_options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the prior of forerun text3d.")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the prior",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for unfinished stages",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--views",
        type=int,
        default=1024,
        help="of each shape",
    )
    parser.add_argument("--text-steps", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument(
        "--rate",
        type=float,
        default=2e-3,
        help="the UNet's largest learning rate",
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
