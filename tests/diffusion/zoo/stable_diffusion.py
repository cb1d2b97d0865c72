"""Stable Diffusion 1 and 2: from text, from an image, with a mask, by instruction."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import WIDTH, autoencoder, clip_text, clip_tokenizer, lively, picture

SIZE = 16  # pixels; the latents are half as wide
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def unet(channels: int = 4, **more: Any) -> Any:
    options = {
        "sample_size": SIZE // 2,
        "in_channels": channels,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return lively(diffusers.UNet2DConditionModel(**{**options, **more}))


def ddim(**more: Any) -> Any:
    return diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, **more)


def parts(network: Any, scheduler: Any, **more: Any) -> dict[str, Any]:
    """The components of a Stable Diffusion pipeline."""
    return {
        "unet": network,
        "scheduler": scheduler,
        "vae": autoencoder(),
        "text_encoder": clip_text(),
        "tokenizer": clip_tokenizer(),
        "safety_checker": None,
        "feature_extractor": None,
        **more,
    }


@built
def epsilon() -> Any:
    return diffusers.StableDiffusionPipeline(**parts(unet(), ddim()), requires_safety_checker=False)


@built
def pndm() -> Any:
    scheduler = diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    return diffusers.StableDiffusionPipeline(**parts(unet(), scheduler), requires_safety_checker=False)


@built
def velocity() -> Any:
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, prediction_type="v_prediction", steps_offset=1)
    network = unet(use_linear_projection=True, attention_head_dim=(2, 4))
    return diffusers.StableDiffusionPipeline(**parts(network, scheduler), requires_safety_checker=False)


@built
def img2img() -> Any:
    return diffusers.StableDiffusionImg2ImgPipeline(**parts(unet(), ddim()), requires_safety_checker=False)


@built
def inpaint() -> Any:
    return diffusers.StableDiffusionInpaintPipeline(**parts(unet(), ddim()), requires_safety_checker=False)


@built
def inpaint_9() -> Any:
    return diffusers.StableDiffusionInpaintPipeline(**parts(unet(9), ddim()), requires_safety_checker=False)


@built
def pix2pix() -> Any:
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**BETAS, steps_offset=1)
    return diffusers.StableDiffusionInstructPix2PixPipeline(**parts(unet(8), scheduler), requires_safety_checker=False)


@built
def depth() -> Any:
    components = parts(unet(5), ddim(), depth_estimator=None)
    components.pop("safety_checker")
    return diffusers.StableDiffusionDepth2ImgPipeline(**components)


@built
def upscale() -> Any:
    low = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    network = unet(7, num_class_embeds=1000)
    scheduler = ddim(prediction_type="v_prediction")
    components = parts(network, scheduler, low_res_scheduler=low, watermarker=None)
    components["vae"] = autoencoder(blocks=3, scaling_factor=0.08333)
    return diffusers.StableDiffusionUpscalePipeline(**components, max_noise_level=350)


@built
def consistency() -> Any:
    network = unet(time_cond_proj_dim=8)
    scheduler = diffusers.LCMScheduler(**BETAS, clip_sample=False)
    return diffusers.LatentConsistencyModelPipeline(**parts(network, scheduler), requires_safety_checker=False)


def square() -> torch.Tensor:
    """A mask, `(1, 1, SIZE, SIZE)`: one where the image is to be painted."""
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 4:12, 4:12] = 1.0
    return mask


def with_image(ask: Ask) -> dict[str, Any]:
    return ask.text(image=picture(SIZE).expand(ask.batch * ask.images, -1, -1, -1), strength=0.8)


def with_mask(ask: Ask) -> dict[str, Any]:
    image, mask = picture(SIZE), square()
    return ask.text(
        image=image.expand(ask.batch, -1, -1, -1),
        mask_image=mask.expand(ask.batch, -1, -1, -1),
        height=SIZE,
        width=SIZE,
    )


def with_instruction(ask: Ask) -> dict[str, Any]:
    image = picture(SIZE).expand(ask.batch * ask.images, -1, -1, -1)
    return ask.text(image=image, image_guidance_scale=1.5)


def with_depth(ask: Ask) -> dict[str, Any]:
    return {**with_image(ask), "depth_map": picture(SIZE, channels=1)[0].expand(ask.batch, -1, -1)}


def with_low_resolution(ask: Ask) -> dict[str, Any]:
    return ask.text(image=picture(SIZE // 2).expand(ask.batch, -1, -1, -1), noise_level=20)


ENTRIES = (
    Entry("sd", epsilon, Ask.text),
    Entry("sd-pndm", pndm, Ask.text),
    Entry("sd-v", velocity, Ask.text),
    Entry("sd-rescaled", velocity, lambda ask: ask.text(guidance_rescale=0.7)),
    Entry("sd-img2img", img2img, with_image),
    Entry("sd-inpaint", inpaint, with_mask),
    Entry("sd-inpaint-9", inpaint_9, with_mask),
    Entry("sd-pix2pix", pix2pix, with_instruction),
    Entry("sd-depth", depth, with_depth),
    Entry("sd-upscale", upscale, with_low_resolution),
    Entry("sd-lcm", consistency, Ask.text, guides=False),
)
