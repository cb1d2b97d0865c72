"""Train the scenes' pipeline and its classifier: `python -m forerun.worlds.scenes.train --out DIR --work DIR`.

Pictures are rendered; then, one after the other, the autoencoder, the classifier, the text encoder and the UNet.
Every stage keeps its state in the work folder: the same command after an interruption goes on where it stopped.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional

from forerun.worlds.scenes import losses, networks
from forerun.worlds.scenes.captions import LABEL_COUNTS, Scene, draw_scene
from forerun.worlds.scenes.classifier import SceneClassifier
from forerun.worlds.scenes.render import render_scenes
from forerun.worlds.text import TextReader, TextUNet, tokenize_texts
from forerun.worlds.training import TrainingStage, read_records, train_network
from forerun.worlds.velocity import velocity_loss
from forerun.worlds.weights import command_line, dated_versions, save_weights, write_facts

RENDERED_AT_ONCE = 512
ENCODED_AT_ONCE = 64
LATENT_PRIORS = (3e-4, 1e-6)  # weights of the pull to a standard normal, one for each run of the autoencoder


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's unless passed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parse_options(words)
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    scenes, pictures = prepare_pictures(options.work, options.pictures, options.seed)
    torch.manual_seed(options.seed)
    vae = train_autoencoder(pictures, options)
    classifier = train_classifier(scenes, pictures, options)
    latents = encode_pictures(vae, pictures, options.work)
    drawer = train_unet(scenes, latents, options)
    facts = {
        "command": command_line("forerun.worlds.scenes.train", words),
        "seed": options.seed,
        "stages": read_records(options.work),
        **dated_versions(),
    }
    save_pipeline(assemble_pipeline(vae, drawer), classifier, options.out, facts)


def prepare_pictures(work: Path, count: int, seed: int) -> tuple[list[Scene], Tensor]:
    """Return random scenes and their pictures, uint8 `(count, 3, 64, 64)`; the pictures are kept in `work`."""
    rng = random.Random(seed)
    scenes = [draw_scene(rng) for _ in range(count)]
    file = work / "pictures.pt"
    if not file.exists():
        batches = []
        for first in range(0, count, RENDERED_AT_ONCE):
            batch = scenes[first : first + RENDERED_AT_ONCE]
            batches.append(render_scenes(batch, seed=seed * 1_000_000 + first))
        torch.save(torch.cat(batches), file)
    return scenes, torch.load(file)


def train_autoencoder(pictures: Tensor, options: argparse.Namespace) -> AutoencoderKL:
    """Train the autoencoder in two runs, and whiten its latents after each.

    With a strong prior it settles on few channels, with a weak one on all.
    """
    vae = networks.build_autoencoder().to(memory_format=torch.channels_last)
    for number, prior in enumerate(LATENT_PRIORS):

        def batch_loss(vae: AutoencoderKL, step: int, prior: float = prior) -> Tensor:
            rows = torch.randint(len(pictures), (16,))
            return losses.picture_loss(vae, _scale_pictures(pictures[rows]), prior)

        stage = TrainingStage(
            name=f"autoencoder-{number + 1}",
            steps=options.autoencoder_steps[number],
            rate=2e-3,
            horizon=100,
        )
        vae.requires_grad_(True)
        vae = train_network(
            vae,
            batch_loss,
            stage,
            options.work,
            seed=options.seed,
        ).network
        networks.whiten_latents(vae, _scale_pictures(pictures[:512]))
    return vae


def train_classifier(
    scenes: Sequence[Scene],
    pictures: Tensor,
    options: argparse.Namespace,
) -> SceneClassifier:
    """Train the classifier on rendered pictures, made noisy and now and then soft, as those of a decoder are."""
    labels = torch.tensor([scene.labels for scene in scenes])

    def batch_loss(classifier: SceneClassifier, step: int) -> Tensor:
        rows = torch.randint(len(pictures), (64,))
        clean = pictures[rows].float() / 255
        padded = functional.pad(clean, (1, 1, 1, 1), mode="replicate")
        soft = functional.avg_pool2d(padded, 3, stride=1)
        mixed = torch.lerp(clean, soft, torch.rand(64, 1, 1, 1))
        noisy = mixed + 0.06 * torch.rand(64, 1, 1, 1) * torch.randn_like(mixed)
        return losses.meaning_loss(classifier(noisy), labels[rows])

    stage = TrainingStage(name="classifier", steps=options.classifier_steps, rate=3e-3)
    return train_network(
        SceneClassifier(),
        batch_loss,
        stage,
        options.work,
        seed=options.seed,
    ).network


def train_unet(
    scenes: Sequence[Scene],
    latents: Tensor,
    options: argparse.Namespace,
) -> TextUNet:
    """Train the text encoder alone, on what captions mean; then the UNet and the encoder together."""
    reader = train_reader(scenes, options)
    tokenizer = networks.build_tokenizer()
    schedule = networks.build_scheduler()

    def batch_loss(drawer: TextUNet, step: int) -> Tensor:
        rows = torch.randint(len(scenes), (options.batch,)).tolist()
        captions = losses.write_captions([scenes[row] for row in rows], random.Random(step))
        tokens = tokenize_texts(captions, tokenizer)
        clean = latents[rows].contiguous(memory_format=torch.channels_last)
        return velocity_loss(lambda noisy, t: drawer(noisy, t, tokens), clean, schedule)

    encoder = reader.encoder.train().requires_grad_(True)
    unet = networks.build_unet().to(memory_format=torch.channels_last)
    stage = TrainingStage(name="unet", steps=options.unet_steps, rate=options.rate)
    return train_network(
        TextUNet(unet, encoder),
        batch_loss,
        stage,
        options.work,
        seed=options.seed,
    ).network


def train_reader(scenes: Sequence[Scene], options: argparse.Namespace) -> TextReader:
    """Train a text encoder on what captions mean."""
    tokenizer = networks.build_tokenizer()
    labels = torch.tensor([scene.labels for scene in scenes])

    def batch_loss(reader: TextReader, step: int) -> Tensor:
        rows = torch.randint(len(scenes), (256,)).tolist()
        captions = losses.write_captions([scenes[row] for row in rows], random.Random(step), silent_share=0)
        logits = reader(tokenize_texts(captions, tokenizer))
        return losses.meaning_loss(logits, labels[rows])

    reader = TextReader(networks.build_text_encoder(tokenizer), sum(LABEL_COUNTS))
    stage = TrainingStage(name="text", steps=options.text_steps, rate=2e-3)
    return train_network(
        reader,
        batch_loss,
        stage,
        options.work,
        seed=options.seed,
    ).network


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: Tensor, work: Path) -> Tensor:
    """Return the means of the latents, `(N, 4, 16, 16)`; they are kept in `work`."""
    file = work / "latents.pt"
    if not file.exists():
        means = []
        for rows in pictures.split(ENCODED_AT_ONCE):
            means.append(vae.encode(_scale_pictures(rows)).latent_dist.mean)
        torch.save(torch.cat(means), file)
    latents: Tensor = torch.load(file)
    return latents


def assemble_pipeline(vae: AutoencoderKL, drawer: TextUNet) -> StableDiffusionPipeline:
    """Return the whole pipeline; nothing checks what it draws, since it can draw nothing but solids."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=drawer.encoder,
        tokenizer=networks.build_tokenizer(),
        unet=drawer.unet,
        scheduler=networks.build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_pipeline(
    pipeline: StableDiffusionPipeline,
    classifier: SceneClassifier,
    out: Path,
    facts: dict[str, Any],
) -> None:
    """Write the pipeline's folder, `classifier.safetensors` (both float16) and `training.json` (`facts`)."""
    for network in (pipeline.vae, pipeline.unet):
        network.to(memory_format=torch.contiguous_format)
    pipeline.to(torch.float16).save_pretrained(out)
    save_weights(classifier, out / "classifier.safetensors")
    write_facts(out / "training.json", facts)
    print(f"saved to {out}", flush=True)


def _scale_pictures(pictures: Tensor) -> Tensor:
    """Return uint8 pictures in the pipeline's range [-1, 1]."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _parse_options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the text-to-image pipeline that ships with forerun.")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the pipeline and the classifier",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for pictures, latents and unfinished stages",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=24576)
    parser.add_argument(
        "--autoencoder-steps",
        type=int,
        nargs=2,
        default=(1000, 650),
    )
    parser.add_argument("--classifier-steps", type=int, default=1500)
    parser.add_argument("--text-steps", type=int, default=600)
    parser.add_argument("--unet-steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--rate",
        type=float,
        default=1e-3,
        help="the UNet's largest learning rate",
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
