"""Train the prior of `forerun text3d`: `python -m forerun.worlds.solids.prior.train --out DIR --work DIR`.

Every shape is rendered from random cameras; then the text encoder learns what captions mean, and the UNet and it
to denoise pictures, told the caption and the camera. The same command after an interruption goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from forerun.optim.text3d.camera import Cameras, random_cameras
from forerun.worlds.solids.prior import networks
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.prompts import SHAPE_NAMES, SOLID_COLOURS, all_solids, write_prompt
from forerun.worlds.solids.render import paint_pictures, shade_shape
from forerun.worlds.training import TrainingStage, read_records, train_network

OFTEN = {"mug": 3, "cube": 2, "pyramid": 2}  # times as often as other shapes: handles and corners take longest
SILENT = 0.12  # share of the pictures without a caption (Ho and Salimans 2022)


@final
class PromptReader(nn.Module):
    """A text encoder whose last token tells colour and shape; the heads serve to pretrain it."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.Linear(encoder.config.hidden_size, len(SOLID_COLOURS) + len(SHAPE_NAMES))

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.heads(self.encoder(tokens).last_hidden_state[:, -1])
        return logits


@final
class PosedUNet(nn.Module):
    """The UNet and the text encoder that it learns together with."""

    def __init__(self, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def forward(self, noisy: Tensor, timestep: Tensor, tokens: Tensor, cameras: Tensor) -> Tensor:
        said = self.encoder(tokens).last_hidden_state
        predicted: Tensor = self.unet(noisy, timestep, said, class_labels=cameras).sample
        return predicted


@final
@dataclass(frozen=True)
class ShapeViews:
    """What the shapes look like: `shaded` `(shapes, views, 2, side, side)` and the cameras `(shapes * views,)`."""

    shaded: Tensor
    cameras: Cameras

    def draw(self, count: int, dice: random.Random) -> tuple[Tensor, list[str], Tensor]:
        """Pictures in [-1, 1], their captions, and what the prior is told of their cameras."""
        things = dice.choices(all_solids(), [OFTEN.get(thing.shape, 1) for thing in all_solids()], k=count)
        shapes = torch.tensor([thing.labels[1] for thing in things])
        views = torch.randint(self.shaded.shape[1], (count,))
        cameras = self.cameras[shapes * self.shaded.shape[1] + views]
        colours = torch.tensor([thing.rgb for thing in things])
        pictures = paint_pictures(self.shaded[shapes, views].float(), colours, cameras.background)
        said = ["" if dice.random() < SILENT else write_prompt(thing, dice) for thing in things]
        return 2 * pictures - 1, said, cameras.features


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments` are the command line's unless given."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _options(given)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    painter = train(look(options.views, options.seed), options)
    facts = {
        "command": shlex.join(["python", "-m", "forerun.worlds.solids.prior.train", *given]),
        "seed": options.seed,
        "stages": read_records(options.work),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
    }
    save(painter, options.out, facts)


def look(views: int, seed: int) -> ShapeViews:
    """Every shape from `views` random cameras."""
    cameras = random_cameras(len(SHAPE_NAMES) * views, torch.Generator().manual_seed(seed))
    shaded = []
    for index, shape in enumerate(SHAPE_NAMES):
        rows = range(index * views, (index + 1) * views, 32)
        parts = [cameras[at : min(at + 32, (index + 1) * views)] for at in rows]
        shaded.append(torch.cat([shade_shape(shape, part, PRIOR_SIDE).half() for part in parts]))
    return ShapeViews(torch.stack(shaded), cameras)


def train(views: ShapeViews, options: argparse.Namespace) -> PosedUNet:
    """The text encoder alone, on what captions mean; then the UNet and it together."""
    tokens, schedule = networks.tokenizer(), networks.scheduler()

    def reading(reader: PromptReader, step: int) -> Tensor:
        dice = random.Random(step)
        things = dice.choices(all_solids(), k=64)
        colours, shapes = torch.tensor([thing.labels for thing in things]).unbind(-1)
        told = reader(networks.tokenize([write_prompt(thing, dice) for thing in things], tokens))
        of_colour, of_shape = told.split((len(SOLID_COLOURS), len(SHAPE_NAMES)), -1)
        return functional.cross_entropy(of_colour, colours) + functional.cross_entropy(of_shape, shapes)

    def painting(painter: PosedUNet, step: int) -> Tensor:
        pictures, said, cameras = views.draw(options.batch, random.Random(step))
        ids = networks.tokenize(said, tokens)
        # one timestep from each stretch of the schedule
        t = ((torch.arange(len(said)) + torch.rand(len(said))) * len(schedule) / len(said)).long()
        noise = torch.randn_like(pictures)
        noisy = schedule.add_noise(pictures, noise, t).contiguous(memory_format=torch.channels_last)
        error = painter(noisy, t, ids, cameras) - schedule.get_velocity(pictures, noise, t)
        abar = schedule.alphas_cumprod[t]
        weight = 5 / (5 + abar / (1 - abar))  # the noise of nearly clean pictures cannot be told (Hang et al. 2023)
        loss: Tensor = (weight * error.square().mean((1, 2, 3))).mean()
        return loss

    reader = PromptReader(networks.text_encoder(tokens))
    stage = TrainingStage("text", options.text_steps, rate=2e-3, horizon=50)
    encoder = (
        train_network(reader, reading, stage, options.work, seed=options.seed).encoder.train().requires_grad_(True)
    )
    painter = PosedUNet(networks.unet().to(memory_format=torch.channels_last), encoder)
    stage = TrainingStage("unet", options.steps, rate=options.rate, save_every=100)
    return train_network(painter, painting, stage, options.work, seed=options.seed)


def save(painter: PosedUNet, out: Path, facts: dict[str, Any]) -> None:
    """Write the folder of the prior, float16, with `training.json` (`facts`)."""
    painter.unet.to(memory_format=torch.contiguous_format)
    painter.unet.half().save_pretrained(out / "unet")
    painter.encoder.half().save_pretrained(out / "text_encoder")
    networks.tokenizer().save_pretrained(out / "tokenizer")
    networks.scheduler().save_pretrained(out / "scheduler")
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"saved to {out}", flush=True)


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the prior of forerun text3d.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the prior")
    parser.add_argument("--work", type=Path, required=True, help="folder for unfinished stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--views", type=int, default=1024, help="of each shape")
    parser.add_argument("--text-steps", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3, help="the UNet's largest learning rate")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
