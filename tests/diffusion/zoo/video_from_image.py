"""Video from an image: what is given stays, joined to the samples or held in place."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import TOKENS, WIDTH, clip_features, clip_image, lively, picture
from diffusion.zoo.stable_diffusion import BETAS, SIZE
from diffusion.zoo.text_to_image import assembled, flowing
from diffusion.zoo.video import FLOW_UNIPC, cog_network, cog_vae, ltx_network, ltx_vae, t5, wan_network, wan_vae


@built
def svd() -> Any:
    network = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32),
        layers_per_block=1,
        sample_size=SIZE // 2,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=WIDTH,
        num_attention_heads=4,
        projection_class_embeddings_input_dim=48,
        addition_time_embed_dim=16,
    )
    scheduler = diffusers.EulerDiscreteScheduler(
        **BETAS,
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4
    )
    return diffusers.StableVideoDiffusionPipeline(
        unet=lively(network),
        image_encoder=clip_image(SIZE),
        scheduler=scheduler,
        vae=vae.eval(),
        feature_extractor=clip_features(SIZE),
    )


@built
def wan() -> Any:
    """The image and a mask are 20 more channels."""
    return assembled(
        diffusers.WanImageToVideoPipeline,
        wan_network(36),
        scheduler=diffusers.UniPCMultistepScheduler(**FLOW_UNIPC),
        vae=wan_vae(),
        transformer_2=None,
        image_encoder=None,
        image_processor=None,
    )


@built
def wan_expanded() -> Any:
    """The first frame of the samples is the image, and its time is 0."""
    return assembled(
        diffusers.WanImageToVideoPipeline,
        wan_network(),
        scheduler=diffusers.UniPCMultistepScheduler(**FLOW_UNIPC),
        vae=wan_vae(),
        transformer_2=None,
        image_encoder=None,
        image_processor=None,
        expand_timesteps=True,
    )


@built
def ltx() -> Any:
    return assembled(diffusers.LTXImageToVideoPipeline, ltx_network(), vae=ltx_vae(), scheduler=flowing())


@built
def cog() -> Any:
    scheduler = diffusers.CogVideoXDDIMScheduler(**BETAS, prediction_type="v_prediction")
    return assembled(diffusers.CogVideoXImageToVideoPipeline, cog_network(8), scheduler=scheduler, vae=cog_vae())


def still(ask: Ask) -> dict[str, Any]:
    """Guidance grows from frame to frame."""
    return {
        "image": picture(SIZE).repeat(ask.batch, 1, 1, 1),
        "height": SIZE,
        "width": SIZE,
        "num_frames": 3,
        "max_guidance_scale": ask.scale(),
        "num_inference_steps": ask.steps,
        "num_videos_per_prompt": ask.images,
        "generator": ask.generator,
        "output_type": "latent",
    }


def begun(ask: Ask, **more: Any) -> dict[str, Any]:
    return t5(ask, image=picture(32).repeat(ask.batch, 1, 1, 1), **more)


def embedded(ask: Ask) -> dict[str, Any]:
    """Without the tokenizer: this pipeline calls ftfy whether it is installed or not. It repeats one image itself."""
    return {**begun(ask, prompt=None, **ask.embeds(TOKENS, WIDTH)), "image": picture(32)}


ENTRIES = (
    Entry("svd", svd, still),
    Entry("wan-i2v", wan, embedded, "transformer", several=False),  # several only of one prompt
    Entry("wan-i2v-expanded-time", wan_expanded, embedded, "transformer", several=False),
    Entry("ltx-i2v", ltx, begun, "transformer", several=False),
    Entry("cogvideox-i2v", cog, begun, "transformer", several=False),
)
