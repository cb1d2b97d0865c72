"""Stable Diffusion XL: from text, from an image, with a mask, by instruction."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import WIDTH, autoencoder, clip_text, clip_tokenizer, picture
from diffusion.zoo.stable_diffusion import BETAS, SIZE, unet, with_image, with_instruction, with_mask


def unet_xl(channels: int = 4, ids: int = 6, **more: Any) -> Any:
    """A UNet that also sees a pooled embedding and `ids` numbers about sizes."""
    return unet(
        channels,
        use_linear_projection=True,
        attention_head_dim=(2, 4),
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=ids * 8 + WIDTH,
        **more,
    )


def parts_xl(network: Any, **more: Any) -> dict[str, Any]:
    """The components of a Stable Diffusion XL pipeline."""
    return {
        "unet": network,
        "scheduler": diffusers.EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
        "vae": autoencoder(),
        "text_encoder": clip_text(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": clip_text(projection=True),
        "tokenizer_2": clip_tokenizer(),
        **more,
    }


@built
def base() -> Any:
    return diffusers.StableDiffusionXLPipeline(**parts_xl(unet_xl()))


@built
def refiner() -> Any:
    return diffusers.StableDiffusionXLImg2ImgPipeline(**parts_xl(unet_xl(ids=5)), requires_aesthetics_score=True)


@built
def inpaint() -> Any:
    return diffusers.StableDiffusionXLInpaintPipeline(**parts_xl(unet_xl()))


@built
def inpaint_9() -> Any:
    return diffusers.StableDiffusionXLInpaintPipeline(**parts_xl(unet_xl(9)))


@built
def pix2pix() -> Any:
    return diffusers.StableDiffusionXLInstructPix2PixPipeline(**parts_xl(unet_xl(8)))


def sized(ask: Ask) -> dict[str, Any]:
    return ask.text(height=SIZE, width=SIZE)


def in_two(ask: Ask) -> dict[str, Any]:
    """The first of two experts: it stops at 60 % of the noise."""
    return {**sized(ask), "denoising_end": 0.6}


def with_aesthetics(ask: Ask) -> dict[str, Any]:
    return ask.text(image=picture(SIZE).expand(ask.batch, -1, -1, -1), strength=0.8)


ENTRIES = (
    Entry("sdxl", base, sized),
    Entry("sdxl-rescaled", base, lambda ask: {**sized(ask), "guidance_rescale": 0.7}),
    Entry("sdxl-ending", base, in_two),
    Entry("sdxl-refiner", refiner, with_aesthetics),
    Entry("sdxl-img2img", refiner, with_image),
    Entry("sdxl-inpaint", inpaint, with_mask),
    Entry("sdxl-inpaint-9", inpaint_9, with_mask),
    Entry("sdxl-pix2pix", pix2pix, lambda ask: {**with_instruction(ask), "height": SIZE, "width": SIZE}),
)
