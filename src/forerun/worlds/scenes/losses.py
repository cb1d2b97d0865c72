"""What each stage of the training minimises: pictures, the meaning of captions, the velocity of latents."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from forerun.worlds.scenes.captions import ABSENT_LABEL, LABEL_COUNTS, Scene, write_caption


@final
class CaptionReader(nn.Module):
    """A text encoder whose last token tells what a caption means; the heads serve to pretrain it."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.Linear(encoder.config.hidden_size, sum(LABEL_COUNTS))

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.heads(self.encoder(tokens).last_hidden_state[:, -1])
        return logits


@final
class CaptionedUNet(nn.Module):
    """The UNet and the text encoder that it learns together with."""

    def __init__(self, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def forward(self, latents: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        predicted: Tensor = self.unet(latents, timestep, self.encoder(tokens).last_hidden_state).sample
        return predicted


def picture_loss(vae: AutoencoderKL, pictures: Tensor, prior: float) -> Tensor:
    """Colours and edges, things counted six times the wall, and a pull of the latents to a standard normal."""
    latents = vae.encode(pictures).latent_dist
    drawn = vae.decode(latents.mean + latents.std * torch.randn_like(latents.mean)).sample
    weight = 1 + 5.0 * (pictures.amin(1, keepdim=True) < 0.2)
    wrong = (drawn - pictures) * weight / weight.mean()
    edges = sum(wrong.diff(dim=axis).abs().mean() for axis in (2, 3))
    pull = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
    loss: Tensor = wrong.abs().mean() + 0.3 * wrong.square().mean() + edges + prior * pull
    return loss


def meaning_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of `Scene.labels`, `(N, 7)`, summed over the seven; things that are not there do not count."""
    groups = zip(logits.split(LABEL_COUNTS, -1), labels.unbind(-1), strict=True)
    return torch.stack([functional.cross_entropy(*group, ignore_index=ABSENT_LABEL) for group in groups]).sum()


def velocity_loss(drawer: CaptionedUNet, latents: Tensor, tokens: Tensor, schedule: DDIMScheduler) -> Tensor:
    """Square error of `v = sqrt(abar) eps - sqrt(1 - abar) x0` (Salimans and Ho 2022), by `5 / (5 + snr)`.

    The weight keeps the nearly clean steps, where the noise cannot be told, from outweighing the others (as in
    Hang et al. 2023).
    """
    # one timestep from each stretch of the schedule
    t = ((torch.arange(len(latents)) + torch.rand(len(latents))) * len(schedule.alphas_cumprod) / len(latents)).long()
    noise = torch.randn_like(latents)
    noisy = schedule.add_noise(latents, noise, t)
    error = drawer(noisy, t, tokens) - schedule.get_velocity(latents, noise, t)
    abar = schedule.alphas_cumprod[t]
    weight = 5 / (5 + abar / (1 - abar))
    loss: Tensor = (weight * error.square().mean((1, 2, 3))).mean()
    return loss


def tokenize(captions: Sequence[str], tokens: CLIPTokenizer) -> Tensor:
    """Padded to the model's length, int64 `(N, CAPTION_TOKENS)`; just as the pipeline does it."""
    batch = tokens(list(captions), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids


def say(scenes: Sequence[Scene], dice: random.Random, *, silent: float = 0.1) -> list[str]:
    """A caption for each scene, and the empty one for a share of them (Ho and Salimans 2022)."""
    return ["" if dice.random() < silent else write_caption(scene, dice) for scene in scenes]
