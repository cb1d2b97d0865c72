"""Transformers that flow: Stable Diffusion 3 and Flux with its variants."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import (
    TOKENS,
    WIDTH,
    autoencoder,
    clip_text,
    clip_tokenizer,
    lively,
    picture,
    t5_text,
    t5_tokenizer,
)
from diffusion.zoo.stable_diffusion import SIZE, square

SHIFTED = {"shift_factor": 0.06, "scaling_factor": 1.5}


def parts_sd3(channels: int = 4, **more: Any) -> dict[str, Any]:
    """The components of Stable Diffusion 3."""
    network = diffusers.SD3Transformer2DModel(
        sample_size=SIZE // 2,
        patch_size=2,
        in_channels=channels,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=channels,
        pos_embed_max_size=SIZE,
    )
    return {
        "transformer": lively(network),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        "vae": autoencoder(channels, use_quant_conv=False, use_post_quant_conv=False, **SHIFTED),
        "text_encoder": clip_text(projection=True),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip_text(projection=True),
        "tokenizer_2": clip_tokenizer(),
        "text_encoder_3": t5_text(2 * WIDTH),
        "tokenizer_3": t5_tokenizer(),
        **more,
    }


def parts_flux(channels: int = 16, guided: bool = False, **more: Any) -> dict[str, Any]:
    """The components of Flux, whose transformer sees 2 x 2 patches of 4 latent channels as one token."""
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=channels,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )
    return {
        "transformer": lively(network),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": autoencoder(use_quant_conv=False, use_post_quant_conv=False, **SHIFTED),
        "text_encoder": clip_text(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": t5_text(),
        "tokenizer_2": t5_tokenizer(),
        **more,
    }


@built
def sd3() -> Any:
    return diffusers.StableDiffusion3Pipeline(**parts_sd3())


@built
def sd3_img2img() -> Any:
    return diffusers.StableDiffusion3Img2ImgPipeline(**parts_sd3())


@built
def sd3_inpaint() -> Any:
    return diffusers.StableDiffusion3InpaintPipeline(**parts_sd3(16))


@built
def flux() -> Any:
    return diffusers.FluxPipeline(**parts_flux())


@built
def flux_guided() -> Any:
    return diffusers.FluxPipeline(**parts_flux(guided=True))


@built
def flux_img2img() -> Any:
    return diffusers.FluxImg2ImgPipeline(**parts_flux(guided=True))


@built
def flux_inpaint() -> Any:
    return diffusers.FluxInpaintPipeline(**parts_flux(guided=True))


@built
def flux_fill() -> Any:
    return diffusers.FluxFillPipeline(**parts_flux(16 + 16 + 16, guided=True))


@built
def flux_control() -> Any:
    return diffusers.FluxControlPipeline(**parts_flux(32, guided=True))


@built
def flux_kontext() -> Any:
    return diffusers.FluxKontextPipeline(**parts_flux(guided=True))


def t5(ask: Ask) -> dict[str, Any]:
    return ask.text(height=SIZE, width=SIZE, max_sequence_length=TOKENS)


def distilled(ask: Ask) -> dict[str, Any]:
    return {**t5(ask), "guidance_scale": 3.5}


def twofold(ask: Ask) -> dict[str, Any]:
    """Guidance by a second call of the transformer, which distilled ones do without."""
    return {**distilled(ask), "true_cfg_scale": ask.scale(2.0), "negative_prompt": ["ugly"] * ask.batch}


def edited(ask: Ask) -> dict[str, Any]:
    image = picture(SIZE).expand(ask.batch, -1, -1, -1)
    return {**distilled(ask), "image": image, "max_area": SIZE**2, "_auto_resize": False}


def imaged(ask: Ask) -> dict[str, Any]:
    return {**t5(ask), "image": picture(SIZE).expand(ask.batch, -1, -1, -1), "strength": 0.8}


def masked(ask: Ask) -> dict[str, Any]:
    return {**imaged(ask), "mask_image": square().expand(ask.batch, -1, -1, -1)}


def filled(ask: Ask) -> dict[str, Any]:
    return {**masked(ask), "strength": 1.0}


def controlled(ask: Ask) -> dict[str, Any]:
    return {**distilled(ask), "control_image": picture(SIZE).expand(ask.batch, -1, -1, -1)}


ENTRIES = (
    Entry("sd3", sd3, t5, "transformer"),
    Entry("sd3-skip", sd3, lambda ask: {**t5(ask), "skip_guidance_layers": [0]}, "transformer"),
    Entry("sd3-img2img", sd3_img2img, imaged, "transformer"),
    Entry("sd3-inpaint", sd3_inpaint, masked, "transformer"),
    Entry("flux", flux, distilled, "transformer", guides=False),
    Entry("flux-guided", flux_guided, t5, "transformer"),
    Entry("flux-true-cfg", flux_guided, twofold, "transformer"),
    Entry("flux-img2img", flux_img2img, imaged, "transformer"),
    Entry("flux-inpaint", flux_inpaint, masked, "transformer"),
    Entry("flux-fill", flux_fill, filled, "transformer"),
    Entry("flux-control", flux_control, controlled, "transformer", guides=False),
    Entry("flux-kontext", flux_kontext, edited, "transformer", guides=False),
)
