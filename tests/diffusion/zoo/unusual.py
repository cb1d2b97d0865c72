"""Loops that do more than call a network and step: they go back, correct, or mix the samples into the output."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import (
    WIDTH,
    autoencoder,
    clip_features,
    clip_image,
    clip_text,
    clip_tokenizer,
    lively,
    picture,
)
from diffusion.zoo.stable_diffusion import BETAS, SIZE, ddim, parts, unet
from diffusion.zoo.unconditional import images, network


@built
def repaint() -> Any:
    """Now and then a step is undone."""
    return diffusers.RePaintPipeline(network(), diffusers.RePaintScheduler())


@built
def karras() -> Any:
    """Noise is added before a step, and a second call corrects it."""
    return diffusers.KarrasVePipeline(network(), diffusers.KarrasVeScheduler(sigma_max=1.0))


@built
def score() -> Any:
    """Its scheduler has no step: it corrects, then predicts."""
    return diffusers.ScoreSdeVePipeline(network(), diffusers.ScoreSdeVeScheduler(sigma_max=1.0, correct_steps=1))


@built
def pndm() -> Any:
    """Four Runge-Kutta calls for each of the first three steps."""
    return diffusers.PNDMPipeline(network(), diffusers.PNDMScheduler())


@built
def larger() -> Any:
    """A small image is joined to the channels."""
    vqvae = diffusers.VQModel(block_out_channels=(8,), latent_channels=3, norm_num_groups=2)
    return diffusers.LDMSuperResolutionPipeline(lively(vqvae), network(in_channels=6), ddim())


@built
def latent_upscale() -> Any:
    """What step receives is a mixture of the network's output and of the samples."""
    conditioned = unet(
        8,
        out_channels=5,
        time_cond_proj_dim=128 + WIDTH,
        time_embedding_type="fourier",
        timestep_post_act="gelu",
    )
    return diffusers.StableDiffusionLatentUpscalePipeline(
        vae=autoencoder(blocks=4),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=conditioned,
        scheduler=diffusers.EulerDiscreteScheduler(**BETAS, prediction_type="sample"),
    )


@built
def variation() -> Any:
    components = parts(unet(), ddim(), image_encoder=clip_image(SIZE), feature_extractor=clip_features(SIZE))
    del components["text_encoder"], components["tokenizer"]
    return diffusers.StableDiffusionImageVariationPipeline(**components, requires_safety_checker=False)


@built
def marigold() -> Any:
    """Depth: the image is joined in front of the samples, and the pipeline batches the members of an ensemble."""
    return diffusers.MarigoldDepthPipeline(
        unet=unet(8),
        vae=autoencoder(),
        scheduler=ddim(prediction_type="v_prediction"),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        prediction_type="depth",
        default_denoising_steps=4,
        default_processing_resolution=0,
    )


def repainted(ask: Ask) -> dict[str, Any]:
    mask = torch.ones(1, 3, 8, 8)
    mask[..., 2:6, 2:6] = 0.0
    return {
        "image": picture(8) * 2 - 1,
        "mask_image": mask,
        "num_inference_steps": max(ask.steps, 4),
        "jump_length": 2,
        "jump_n_sample": 2,
        "generator": ask.generator,
        "output_type": "np",
    }


def warmed(ask: Ask) -> dict[str, Any]:
    """With the four steps at least that Runge-Kutta needs."""
    return {**images(ask), "num_inference_steps": max(ask.steps, 4)}


def enlarged(ask: Ask) -> dict[str, Any]:
    return {**images(ask), "image": picture(8), "output_type": "np"}


def upscaled(ask: Ask) -> dict[str, Any]:
    request = ask.text(image=ask.normal(ask.batch, 4, 4, 4))
    del request["num_images_per_prompt"]
    return request


def varied(ask: Ask) -> dict[str, Any]:
    request = ask.text(image=picture(SIZE).repeat(ask.batch, 1, 1, 1))
    del request["prompt"]
    return request


def measured(ask: Ask) -> dict[str, Any]:
    return {
        "image": picture(SIZE).repeat(ask.batch, 1, 1, 1),
        "num_inference_steps": ask.steps,
        "generator": ask.generator,
        "output_type": "pt",
    }


ALONE = {"several": False, "guides": False, "half": False}
ENTRIES = (
    Entry("repaint", repaint, repainted, batches=False, **ALONE),
    Entry("karras-ve", karras, images, **ALONE),
    Entry("score-sde-ve", score, images, **ALONE),
    Entry("pndm", pndm, warmed, **ALONE),
    Entry("ldm-superresolution", larger, enlarged, batches=False, **ALONE),
    Entry("sd-latent-upscale", latent_upscale, upscaled, several=False),
    Entry("sd-variation", variation, varied),
    Entry("marigold", marigold, measured, several=False, guides=False),
)
