"""What the first stages of the scenes' training minimise: the error of pictures, and of what captions mean."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from forerun.worlds.scenes.captions import ABSENT_LABEL, LABEL_COUNTS, Scene, write_caption

OBJECT_WEIGHT = 5.0  # that the pixels of objects have beyond the wall's
SQUARE_WEIGHT = 0.3  # of the square error beside the absolute one
DARK = 0.2  # a pixel with a channel below it belongs to an object


def picture_loss(vae: AutoencoderKL, pictures: Tensor, prior: float) -> Tensor:
    """Return the loss of an autoencoder: colours and edges, and a pull of the latents to a standard normal.

    Args:
        vae: the autoencoder.
        pictures: `(N, 3, 64, 64)` in [-1, 1]; pixels of objects count six times those of the wall.
        prior: weight of the pull.
    """
    latents = vae.encode(pictures).latent_dist
    noise = torch.randn_like(latents.mean)
    reconstructed = vae.decode(latents.mean + latents.std * noise).sample
    weight = 1 + OBJECT_WEIGHT * (pictures.amin(1, keepdim=True) < DARK)
    error = (reconstructed - pictures) * weight / weight.mean()
    edges = sum(error.diff(dim=axis).abs().mean() for axis in (2, 3))
    pull = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
    absolute = error.abs().mean()
    square = error.square().mean()
    loss: Tensor = absolute + SQUARE_WEIGHT * square + edges + prior * pull
    return loss


def meaning_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of `Scene.labels`, `(N, 7)`, summed over the seven; absent objects do not count."""
    losses = []
    groups = logits.split(LABEL_COUNTS, -1)
    columns = labels.unbind(-1)
    for group, column in zip(groups, columns, strict=True):
        losses.append(functional.cross_entropy(group, column, ignore_index=ABSENT_LABEL))
    return torch.stack(losses).sum()


def write_captions(
    scenes: Sequence[Scene],
    rng: random.Random,
    *,
    silent_share: float = 0.1,
) -> list[str]:
    """Return a caption for each scene, and the empty one for a share of them (Ho and Salimans 2022)."""
    captions = []
    for scene in scenes:
        silent = rng.random() < silent_share
        captions.append("" if silent else write_caption(scene, rng))
    return captions
