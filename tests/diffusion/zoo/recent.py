"""Recent transformers from text to image: CogView 3 and 4, PRX, FLUX.2, Sana Sprint; and Kandinsky 3, a UNet."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import TOKENS, WIDTH, autoencoder, lively
from diffusion.zoo.stable_diffusion import BETAS, SIZE
from diffusion.zoo.stages import movq
from diffusion.zoo.text_to_image import FLAT, assembled, deep, embedded, flowing, masked, sized

UNREAD = {"text_encoder": None, "tokenizer": None}  # the words come embedded


@built
def cogview_3() -> Any:
    network = diffusers.CogView3PlusTransformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        out_channels=4,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=4,
        pos_embed_max_size=8,
        sample_size=SIZE // 2,
    )
    scheduler = diffusers.CogVideoXDDIMScheduler(**BETAS, prediction_type="v_prediction")
    return assembled(diffusers.CogView3PlusPipeline, network, scheduler=scheduler)


@built
def cogview_4() -> Any:
    network = diffusers.CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        out_channels=4,
        text_embed_dim=WIDTH,
        time_embed_dim=16,
        condition_dim=4,
    )
    scheduler = flowing(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75, time_shift_type="linear")
    return assembled(diffusers.CogView4Pipeline, network, scheduler=scheduler, **UNREAD)


@built
def prx() -> Any:
    network = diffusers.PRXTransformer2DModel(
        patch_size=2,
        in_channels=4,
        context_in_dim=WIDTH,
        hidden_size=32,
        mlp_ratio=2.0,
        num_heads=2,
        depth=2,
        axes_dim=[8, 8],
    )
    return assembled(diffusers.PRXPipeline, network, vae=autoencoder(**FLAT), **UNREAD)


@built
def flux_2() -> Any:
    network = diffusers.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        timestep_guidance_channels=32,
        axes_dims_rope=[4, 4, 4, 4],
        guidance_embeds=False,
    )
    vae = diffusers.AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
    ).eval()
    scheduler = flowing(use_dynamic_shifting=True)
    return assembled(diffusers.Flux2KleinPipeline, network, scheduler=scheduler, vae=vae, **UNREAD)


@built
def sana_sprint() -> Any:
    network = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        sample_size=SIZE // 2,
        qk_norm="rms_norm_across_heads",
        guidance_embeds=True,
    )
    return assembled(diffusers.SanaSprintPipeline, network, scheduler=diffusers.SCMScheduler(), vae=deep(), **UNREAD)


@built
def kandinsky_3() -> Any:
    network = diffusers.Kandinsky3UNet(
        in_channels=4,
        time_embedding_dim=16,
        groups=2,
        attention_head_dim=4,
        layers_per_block=3,
        block_out_channels=(32, 64),
        cross_attention_dim=16,
        encoder_hid_dim=WIDTH,
    )
    return diffusers.Kandinsky3Pipeline(
        unet=lively(network),
        scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True),
        movq=movq(),
        **UNREAD,
    )


def cogview(ask: Ask) -> dict[str, Any]:
    return {**sized(ask), "max_sequence_length": TOKENS}


def sprinted(ask: Ask) -> dict[str, Any]:
    request = {**masked(ask), "height": 32, "width": 32, "use_resolution_binning": False}
    return {
        **{name: value for name, value in request.items() if not name.startswith("negative")},
        "intermediate_timesteps": None,
    }


def binned(ask: Ask) -> dict[str, Any]:
    return {**masked(ask), "use_resolution_binning": False}


def with_masks(ask: Ask) -> dict[str, Any]:
    return {**embedded(ask), **ask.masks(TOKENS, "{}attention_mask"), "height": 64, "width": 64}


NETWORK = {"network": "transformer"}
ENTRIES = (
    Entry("cogview3", cogview_3, cogview, **NETWORK),
    Entry("cogview4", cogview_4, embedded, several=False, **NETWORK),  # several only of one prompt
    Entry("prx", prx, binned, batches=False, several=False, **NETWORK),  # it repeats the time for one only
    Entry("flux2-klein", flux_2, embedded, **NETWORK),
    Entry("sana-sprint", sana_sprint, sprinted, **NETWORK),
    Entry("kandinsky3", kandinsky_3, with_masks),
)
