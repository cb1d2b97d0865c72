"""Families that sample in stages: Kandinsky, DeepFloyd IF and Stable Cascade; each stage is an entry."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusers.models.attention_processor import AttnAddedKVProcessor
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import (
    TOKENS,
    WIDTH,
    clip_features,
    clip_image,
    clip_text,
    clip_tokenizer,
    lively,
    picture,
    t5_text,
    t5_tokenizer,
)
from diffusion.zoo.stable_diffusion import BETAS, SIZE, ddim, square

SIMPLE = {
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "cross_attention_dim": WIDTH,
    "encoder_hid_dim": WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "resnet_time_scale_shift": "scale_shift",
}


def movq() -> Any:
    return diffusers.VQModel(
        block_out_channels=[32, 32],
        down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        latent_channels=4,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    ).eval()


def kandinsky(kind: str, channels: int = 4) -> Any:
    network = diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=channels,
        out_channels=8,
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        **SIMPLE,
    )
    return getattr(diffusers, kind)(unet=lively(network), scheduler=ddim(), movq=movq())


@built
def kandinsky_text() -> Any:
    return kandinsky("KandinskyV22Pipeline")


@built
def kandinsky_ddpm() -> Any:
    pipe = kandinsky("KandinskyV22Pipeline")
    pipe.scheduler = diffusers.DDPMScheduler(**BETAS, variance_type="learned_range", clip_sample=False)
    return pipe


@built
def kandinsky_img2img() -> Any:
    return kandinsky("KandinskyV22Img2ImgPipeline")


@built
def kandinsky_inpaint() -> Any:
    return kandinsky("KandinskyV22InpaintPipeline", 9)


@built
def kandinsky_prior() -> Any:
    prior = lively(
        diffusers.PriorTransformer(
            num_attention_heads=2,
            attention_head_dim=12,
            embedding_dim=WIDTH,
            num_layers=2,
            num_embeddings=TOKENS,
        )
    )
    prior.clip_mean.data.zero_()
    prior.clip_std.data.fill_(1.0)
    return diffusers.KandinskyV22PriorPipeline(
        prior=prior,
        image_encoder=clip_image(),
        text_encoder=clip_text(projection=True),
        tokenizer=clip_tokenizer(),
        scheduler=diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
        ),
        image_processor=clip_features(),
    )


def pixels(kind: str, channels: int = 3, thresholding: bool = True, **more: Any) -> Any:
    noise = {"beta_schedule": "squaredcos_cap_v2"}
    network = diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=channels,
        out_channels=6,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        class_embed_type="timestep" if channels > 3 else None,
        **SIMPLE,
    )
    network.set_attn_processor(AttnAddedKVProcessor())
    scheduler = diffusers.DDPMScheduler(
        **noise, thresholding=thresholding, sample_max_value=1.5, variance_type="learned_range"
    )
    return getattr(diffusers, kind)(
        tokenizer=t5_tokenizer(77),
        text_encoder=t5_text(),
        unet=lively(network),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
        **more,
    )


@built
def floyd() -> Any:
    return pixels("IFPipeline")


@built
def floyd_larger() -> Any:
    noising = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    return pixels("IFSuperResolutionPipeline", 6, image_noising_scheduler=noising)


@built
def cascade_prior() -> Any:
    prior = diffusers.StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        conditioning_dim=32,
        block_out_channels=(16, 32),
        num_attention_heads=(2, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        switch_level=(False,),
        clip_image_in_channels=768,
        clip_text_in_channels=WIDTH,
        clip_text_pooled_in_channels=WIDTH,
        timestep_ratio_embedding_dim=16,
        dropout=(0.0, 0.0),
    )
    return diffusers.StableCascadePriorPipeline(
        prior=lively(prior),
        text_encoder=clip_text(projection=True),
        tokenizer=clip_tokenizer(),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
    )


@built
def cascade() -> Any:
    decoder = diffusers.StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        conditioning_dim=32,
        block_out_channels=(8, 16),
        num_attention_heads=(-1, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        block_types_per_layer=(
            ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
            ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
        ),
        clip_text_pooled_in_channels=WIDTH,
        effnet_in_channels=4,
        timestep_ratio_embedding_dim=16,
        dropout=(0.0, 0.0),
    )
    vqgan = PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2).eval()
    return diffusers.StableCascadeDecoderPipeline(
        decoder=lively(decoder),
        text_encoder=clip_text(projection=True),
        tokenizer=clip_tokenizer(),
        scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=vqgan,
        latent_dim_scale=4.0,
    )


def imagined(ask: Ask) -> dict[str, Any]:
    request = ask.text(height=SIZE, width=SIZE)
    del request["prompt"]
    wanted_embeds, unwanted = ask.normal(ask.batch, WIDTH), ask.normal(ask.batch, WIDTH, seed=12)
    return {**request, "image_embeds": wanted_embeds, "negative_image_embeds": unwanted}


def from_image(ask: Ask) -> dict[str, Any]:
    return {**imagined(ask), "image": picture(SIZE).expand(ask.batch, -1, -1, -1).to(ask.dtype), "strength": 0.8}


def masked(ask: Ask) -> dict[str, Any]:
    both = {"image": picture(SIZE) * 2 - 1, "mask_image": square()}
    return {**imagined(ask), **{name: entry.repeat(ask.batch, 1, 1, 1) for name, entry in both.items()}}


def drawn(ask: Ask) -> dict[str, Any]:
    return ask.text(output_type="pt", clean_caption=False)


def larger(ask: Ask) -> dict[str, Any]:
    image = torch.nn.functional.interpolate(picture(4), SIZE // 2).expand(ask.batch, -1, -1, -1)
    return {**drawn(ask), "image": image * 2 - 1, "height": SIZE // 2, "width": SIZE // 2, "noise_level": 100}


def first(ask: Ask) -> dict[str, Any]:
    """Latents 42 times smaller than the image."""
    return ask.text(height=336, width=336)


def second(ask: Ask) -> dict[str, Any]:
    return ask.text(image_embeddings=ask.normal(ask.batch, 4, 2, 2))


ENTRIES = (
    Entry("kandinsky", kandinsky_text, imagined),
    Entry("kandinsky-ddpm", kandinsky_ddpm, imagined),
    Entry("kandinsky-img2img", kandinsky_img2img, from_image),
    Entry("kandinsky-inpaint", kandinsky_inpaint, masked),
    Entry("kandinsky-prior", kandinsky_prior, lambda ask: ask.text(output_type="pt"), "prior"),
    Entry("deepfloyd", floyd, drawn),
    Entry("deepfloyd-larger", floyd_larger, larger),
    Entry("cascade-prior", cascade_prior, first, "prior"),
    Entry("cascade", cascade, second, "decoder", several=False),  # it does not repeat the embeddings
)
