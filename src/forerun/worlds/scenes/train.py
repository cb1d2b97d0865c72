"""Train the scenes' pipeline and its classifier: `python -m forerun.worlds.scenes.train --out DIR --work DIR`.

Pictures are rendered; then, one after the other, the autoencoder, the classifier, the text encoder and the UNet.
Every stage keeps its state in the work folder: the same command after an interruption goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from forerun.worlds.scenes import losses, networks
from forerun.worlds.scenes.captions import Scene, draw_scene
from forerun.worlds.scenes.classifier import SceneClassifier
from forerun.worlds.scenes.render import render_scenes
from forerun.worlds.training import TrainingStage, read_records, train_network


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; `arguments` are the command line's unless given."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _options(given)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    scenes, pictures = prepare(options.work, options.pictures, options.seed)
    torch.manual_seed(options.seed)
    vae = train_autoencoder(pictures, options)
    classifier = train_classifier(scenes, pictures, options)
    drawer = train_drawer(scenes, encode(vae, pictures, options.work), options)
    facts = {
        "command": shlex.join(["python", "-m", "forerun.worlds.scenes.train", *given]),
        "seed": options.seed,
        "stages": read_records(options.work),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
    }
    save(assemble(vae, drawer), classifier, options.out, facts)


def prepare(work: Path, count: int, seed: int) -> tuple[list[Scene], Tensor]:
    """Random scenes and their pictures, uint8 `(count, 3, 64, 64)`; the pictures are kept in `work`."""
    dice = random.Random(seed)
    scenes = [draw_scene(dice) for _ in range(count)]
    file = work / "pictures.pt"
    if not file.exists():
        parts = [render_scenes(scenes[at : at + 512], seed=seed * 1_000_000 + at) for at in range(0, count, 512)]
        torch.save(torch.cat(parts), file)
    return scenes, torch.load(file)


def train_autoencoder(pictures: Tensor, options: argparse.Namespace) -> AutoencoderKL:
    """In two legs, and whitened after each: with a strong prior it settles on few channels, with a weak one on all."""

    def loss(vae: AutoencoderKL, step: int, prior: float) -> Tensor:
        return losses.picture_loss(vae, _signed(pictures[torch.randint(len(pictures), (16,))]), prior)

    vae = networks.autoencoder().to(memory_format=torch.channels_last)
    for leg, prior in enumerate((3e-4, 1e-6)):
        stage = TrainingStage(f"autoencoder-{leg + 1}", options.autoencoder_steps[leg], rate=2e-3, horizon=100)
        vae = train_network(
            vae.requires_grad_(True), partial(loss, prior=prior), stage, options.work, seed=options.seed
        )
        networks.whiten(vae, _signed(pictures[:512]))
    return vae


def train_classifier(scenes: Sequence[Scene], pictures: Tensor, options: argparse.Namespace) -> SceneClassifier:
    """On rendered pictures only, made noisy and now and then soft, so that it forgives what a decoder leaves."""
    labels = torch.tensor([scene.labels for scene in scenes])

    def loss(classifier: SceneClassifier, step: int) -> Tensor:
        rows = torch.randint(len(pictures), (64,))
        clean = pictures[rows].float() / 255
        soft = functional.avg_pool2d(functional.pad(clean, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        mixed = torch.lerp(clean, soft, torch.rand(64, 1, 1, 1))
        noisy = mixed + 0.06 * torch.rand(64, 1, 1, 1) * torch.randn_like(mixed)
        return losses.meaning_loss(classifier(noisy), labels[rows])

    stage = TrainingStage("classifier", options.classifier_steps, rate=3e-3)
    return train_network(SceneClassifier(), loss, stage, options.work, seed=options.seed)


def train_drawer(scenes: Sequence[Scene], latents: Tensor, options: argparse.Namespace) -> losses.CaptionedUNet:
    """The text encoder alone, on what captions mean; then the UNet and it together."""
    tokens, schedule = networks.tokenizer(), networks.scheduler()
    labels = torch.tensor([scene.labels for scene in scenes])

    def reading(reader: losses.CaptionReader, step: int) -> Tensor:
        rows = torch.randint(len(scenes), (256,)).tolist()
        said = losses.say([scenes[row] for row in rows], random.Random(step), silent=0)
        return losses.meaning_loss(reader(losses.tokenize(said, tokens)), labels[rows])

    def drawing(drawer: losses.CaptionedUNet, step: int) -> Tensor:
        rows = torch.randint(len(scenes), (options.batch,)).tolist()
        said = losses.say([scenes[row] for row in rows], random.Random(step))
        clean = latents[rows].contiguous(memory_format=torch.channels_last)
        return losses.velocity_loss(drawer, clean, losses.tokenize(said, tokens), schedule)

    reader = losses.CaptionReader(networks.text_encoder(tokens))
    reader = train_network(
        reader, reading, TrainingStage("text", options.text_steps, rate=2e-3), options.work, seed=options.seed
    )
    encoder = reader.encoder.train().requires_grad_(True)
    drawer = losses.CaptionedUNet(networks.unet().to(memory_format=torch.channels_last), encoder)
    stage = TrainingStage("unet", options.unet_steps, rate=options.rate)
    return train_network(drawer, drawing, stage, options.work, seed=options.seed)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor, work: Path) -> Tensor:
    """Means of the latents, `(N, 4, 16, 16)`; kept in `work`."""
    file = work / "latents.pt"
    if not file.exists():
        torch.save(torch.cat([vae.encode(_signed(rows)).latent_dist.mean for rows in pictures.split(64)]), file)
    latents: Tensor = torch.load(file)
    return latents


def assemble(vae: AutoencoderKL, drawer: losses.CaptionedUNet) -> StableDiffusionPipeline:
    """The whole pipeline; nothing watches what it draws, since it can draw nothing but solids."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=drawer.encoder,
        tokenizer=networks.tokenizer(),
        unet=drawer.unet,
        scheduler=networks.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save(pipeline: StableDiffusionPipeline, classifier: SceneClassifier, out: Path, facts: dict[str, Any]) -> None:
    """Write the pipeline's folder, `classifier.safetensors` (both float16) and `training.json` (`facts`)."""
    for part in (pipeline.vae, pipeline.unet):
        part.to(memory_format=torch.contiguous_format)
    pipeline.to(torch.float16).save_pretrained(out)
    weights = {name: tensor.half().contiguous() for name, tensor in classifier.state_dict().items()}
    save_file(weights, out / "classifier.safetensors")
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"saved to {out}", flush=True)


def _signed(pictures: Tensor) -> Tensor:
    """uint8 to the pipeline's range [-1, 1]."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _options(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the text-to-image pipeline that ships with forerun.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pipeline and the classifier")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, latents and unfinished stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=24576)
    parser.add_argument("--autoencoder-steps", type=int, nargs=2, default=(1000, 650))
    parser.add_argument("--classifier-steps", type=int, default=1500)
    parser.add_argument("--text-steps", type=int, default=600)
    parser.add_argument("--unet-steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="the UNet's largest learning rate")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
