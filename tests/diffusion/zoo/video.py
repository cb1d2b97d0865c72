"""Video from text: UNets in space and time, and transformers over frames."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import TOKENS, WIDTH, autoencoder, clip_text, clip_tokenizer, lively
from diffusion.zoo.stable_diffusion import BETAS, SIZE, ddim, unet
from diffusion.zoo.text_to_image import assembled, flowing

FLOW_UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


@built
def animated() -> Any:
    motion = diffusers.MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_norm_num_groups=4,
        motion_num_attention_heads=2,
        motion_max_seq_length=8,
    )
    return diffusers.AnimateDiffPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        motion_adapter=lively(motion, gain=0.5),
        scheduler=ddim(),
    )


@built
def text_to_video() -> Any:
    network = diffusers.UNet3DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=SIZE // 2,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    return diffusers.TextToVideoSDPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=lively(network),
        scheduler=ddim(),
    )


def wan_network(channels: int = 16) -> Any:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels,
        out_channels=16,
        text_dim=WIDTH,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )


def wan_vae() -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def wan_pipeline(second: bool = False, **more: Any) -> Any:
    other = lively(wan_network(), gain=0.8) if second else None
    scheduler = diffusers.UniPCMultistepScheduler(**FLOW_UNIPC)
    return assembled(
        diffusers.WanPipeline,
        wan_network(),
        **{"scheduler": scheduler, "vae": wan_vae(), "transformer_2": other, **more},
    )


@built
def wan() -> Any:
    return wan_pipeline()


@built
def wan_euler() -> Any:
    return wan_pipeline(scheduler=flowing(shift=3.0))


@built
def wan_two() -> Any:
    return wan_pipeline(second=True, boundary_ratio=0.875)


@built
def wan_expanded() -> Any:
    return wan_pipeline(expand_timesteps=True)


def ltx_network() -> Any:
    return diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=WIDTH,
    )


def ltx_vae() -> Any:
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
    ).eval()
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    return vae


@built
def ltx() -> Any:
    return assembled(diffusers.LTXPipeline, ltx_network(), vae=ltx_vae())


def cog_network(channels: int = 4) -> Any:
    return diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=channels,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=WIDTH,
        num_layers=2,
        sample_width=4,
        sample_height=4,
        sample_frames=9,
        max_text_seq_length=TOKENS,
    )


def cog_vae() -> Any:
    return diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
    ).eval()


def cog_pipeline(scheduler: Any) -> Any:
    return assembled(diffusers.CogVideoXPipeline, cog_network(), scheduler=scheduler, vae=cog_vae())


@built
def cog() -> Any:
    return cog_pipeline(diffusers.CogVideoXDDIMScheduler(**BETAS, prediction_type="v_prediction"))


@built
def cog_dpm() -> Any:
    return cog_pipeline(diffusers.CogVideoXDPMScheduler(**BETAS, prediction_type="v_prediction"))


@built
def latte() -> Any:
    network = diffusers.LatteTransformer3DModel(
        sample_size=SIZE // 2,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=WIDTH,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        video_length=4,
    )
    return assembled(diffusers.LattePipeline, network, scheduler=diffusers.DDIMScheduler())


@built
def mochi() -> Any:
    network = diffusers.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=WIDTH,
        time_embed_dim=4,
        max_sequence_length=TOKENS,
    )
    vae = diffusers.AutoencoderKLMochi(
        latent_channels=12,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    ).eval()
    return assembled(diffusers.MochiPipeline, network, scheduler=flowing(invert_sigmas=True), vae=vae)


@built
def hunyuan() -> Any:
    network = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        guidance_embeds=True,
        text_embed_dim=WIDTH,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 4, 8),
    )
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    ).eval()
    parts = {"text_encoder": None, "tokenizer": None, "text_encoder_2": None, "tokenizer_2": None, "vae": vae}
    return assembled(diffusers.HunyuanVideoPipeline, network, scheduler=flowing(shift=7.0), **parts)


def filmed(ask: Ask, size: int = SIZE, frames: int = 9, **more: Any) -> dict[str, Any]:
    request = ask.text(height=size, width=size, num_frames=frames, num_videos_per_prompt=ask.images, **more)
    del request["num_images_per_prompt"]
    return request


def t5(ask: Ask, size: int = 32, frames: int = 9, **more: Any) -> dict[str, Any]:
    return filmed(ask, size, frames, max_sequence_length=TOKENS, **more)


def once(ask: Ask) -> dict[str, Any]:
    request = filmed(ask, frames=4)
    del request["num_videos_per_prompt"]
    return request


def latted(ask: Ask) -> dict[str, Any]:
    return ask.text(height=SIZE, width=SIZE, video_length=4, clean_caption=False)


def pooled(ask: Ask) -> dict[str, Any]:
    arguments = ask.embeds(TOKENS, WIDTH) | ask.masks(TOKENS)
    pools = {
        "pooled_prompt_embeds": ask.normal(ask.batch, 8),
        "negative_pooled_prompt_embeds": ask.normal(ask.batch, 8),
    }
    return {**filmed(ask, 32), "prompt": None, **arguments, **pools, "true_cfg_scale": ask.scale(2.0)}


NETWORK = {"network": "transformer"}
ENTRIES = (
    Entry("animatediff", animated, lambda ask: filmed(ask, frames=4), several=False),
    Entry("text-to-video", text_to_video, once, several=False),
    Entry("wan", wan, t5, **NETWORK),
    Entry("wan-euler", wan_euler, t5, **NETWORK),
    Entry("wan-two-experts", wan_two, lambda ask: t5(ask, guidance_scale_2=2.0 if ask.guidance else 1.0), **NETWORK),
    Entry("wan-expanded-time", wan_expanded, t5, **NETWORK),
    Entry("ltx", ltx, t5, **NETWORK),
    Entry("ltx-rescaled", ltx, lambda ask: t5(ask, guidance_rescale=0.7), **NETWORK),
    Entry("cogvideox", cog, t5, several=False, **NETWORK),
    Entry("cogvideox-dynamic", cog, lambda ask: t5(ask, use_dynamic_cfg=True), several=False, **NETWORK),
    Entry("cogvideox-dpm", cog_dpm, t5, several=False, **NETWORK),
    Entry("latte", latte, latted, **NETWORK),
    Entry("hunyuan-video", hunyuan, pooled, several=False, **NETWORK),  # several only of one prompt
    Entry("mochi", mochi, lambda ask: t5(ask, frames=7), **NETWORK),
)
