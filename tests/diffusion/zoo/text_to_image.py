"""More transformers from text to image, each with a loop of its own."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusion.zoo.entry import Ask, Entry, built
from diffusion.zoo.parts import TOKENS, WIDTH, autoencoder, lively, t5_text, t5_tokenizer
from diffusion.zoo.stable_diffusion import BETAS, SIZE

FLAT = {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.06, "scaling_factor": 1.5}


def flowing(**more: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**more)


def assembled(kind: Any, network: Any, **more: Any) -> Any:
    """A pipeline of a transformer, with the parts that most of them share."""
    shared = {"scheduler": flowing(), "vae": autoencoder(), "text_encoder": t5_text(), "tokenizer": t5_tokenizer()}
    return kind(transformer=lively(network), **{**shared, **more})


def pixart_network() -> Any:
    return diffusers.PixArtTransformer2DModel(
        sample_size=SIZE // 2,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=WIDTH,
        in_channels=4,
        cross_attention_dim=24,
        out_channels=8,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
    )


@built
def pixart_alpha() -> Any:
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS)
    return assembled(diffusers.PixArtAlphaPipeline, pixart_network(), scheduler=scheduler)


@built
def pixart_sigma() -> Any:
    return assembled(diffusers.PixArtSigmaPipeline, pixart_network(), scheduler=diffusers.DDIMScheduler())


@built
def hunyuan() -> Any:
    network = diffusers.HunyuanDiT2DModel(
        sample_size=SIZE // 2,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        in_channels=4,
        cross_attention_dim=WIDTH,
        cross_attention_dim_t5=WIDTH,
        pooled_projection_dim=16,
        hidden_size=24,
        text_len=TOKENS,
        text_len_t5=TOKENS,
    )
    return assembled(
        diffusers.HunyuanDiTPipeline,
        network,
        scheduler=diffusers.DDPMScheduler(prediction_type="v_prediction"),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@built
def lumina() -> Any:
    network = diffusers.Lumina2Transformer2DModel(
        sample_size=SIZE // 2,
        patch_size=2,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(8, 4, 4),
        axes_lens=(64, 32, 32),
        cap_feat_dim=WIDTH,
    )
    return assembled(diffusers.Lumina2Pipeline, network, vae=autoencoder(**FLAT), text_encoder=None, tokenizer=None)


@built
def sana() -> Any:
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
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    parts = {"scheduler": scheduler, "vae": deep(), "text_encoder": None, "tokenizer": None}
    return assembled(diffusers.SanaPipeline, network, **parts)


def deep() -> Any:
    return diffusers.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    ).eval()


@built
def aura() -> Any:
    network = diffusers.AuraFlowTransformer2DModel(
        sample_size=SIZE // 2,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=WIDTH,
        out_channels=4,
        pos_embed_max_size=64,
    )
    pipe = assembled(diffusers.AuraFlowPipeline, network, scheduler=flowing(shift=1.73))
    for block in network.joint_transformer_blocks:
        block.attn.add_v_proj.weight.data.mul_(8)  # the words would hardly be seen
    return pipe


@built
def qwen() -> Any:
    network = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    ).eval()
    scheduler = flowing(use_dynamic_shifting=True, shift_terminal=0.02)
    return assembled(
        diffusers.QwenImagePipeline, network, scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None
    )


@built
def chroma() -> Any:
    network = diffusers.ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    return assembled(diffusers.ChromaPipeline, network, vae=autoencoder(**FLAT))


@built
def z_image() -> Any:
    network = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    return assembled(diffusers.ZImagePipeline, network, vae=autoencoder(**FLAT), text_encoder=None, tokenizer=None)


def sized(ask: Ask) -> dict[str, Any]:
    return ask.text(height=SIZE, width=SIZE)


def captioned(ask: Ask) -> dict[str, Any]:
    return {**sized(ask), "clean_caption": False, "use_resolution_binning": False, "max_sequence_length": TOKENS}


def as_if_by_eight(ask: Ask, **more: Any) -> dict[str, Any]:
    """For a pipeline that supposes 8 pixels a latent whatever its autoencoder."""
    return {**masked(ask), "height": 4 * SIZE, "width": 4 * SIZE, **more}


def deeply(ask: Ask) -> dict[str, Any]:
    return {**masked(ask), "height": 32, "width": 32, "use_resolution_binning": False, "negative_prompt": None}


def embedded(ask: Ask) -> dict[str, Any]:
    return {**sized(ask), "prompt": None, **ask.embeds(TOKENS, WIDTH)}


def masked(ask: Ask) -> dict[str, Any]:
    return {**embedded(ask), **ask.masks(TOKENS)}


def with_two_texts(ask: Ask) -> dict[str, Any]:
    arguments = ask.embeds(TOKENS, WIDTH) | ask.masks(TOKENS)
    again = {f"{name}_2": value for name, value in arguments.items()}
    return {**masked(ask), **again, "use_resolution_binning": False}


def twofold(ask: Ask) -> dict[str, Any]:
    """Guidance by a second call of the transformer."""
    masks = ask.masks(TOKENS, "{}prompt_embeds_mask")
    return {**embedded(ask), **masks, "true_cfg_scale": ask.scale(), "guidance_scale": None}


def in_lists(ask: Ask) -> dict[str, Any]:
    lists = {name: list(value) for name, value in ask.embeds(TOKENS, WIDTH).items()}
    return {**sized(ask), "prompt": None, "guidance_scale": ask.scale(plain=0.0), **lists}


NETWORK = {"network": "transformer"}
ONE = {"network": "transformer", "several": False}  # it does not repeat the masks
ENTRIES = (
    Entry("pixart-alpha", pixart_alpha, captioned, **NETWORK),
    Entry("pixart-sigma", pixart_sigma, captioned, **NETWORK),
    Entry("hunyuan-dit", hunyuan, with_two_texts, **ONE),
    Entry("lumina2", lumina, as_if_by_eight, **ONE),
    Entry("lumina2-plain", lumina, lambda ask: as_if_by_eight(ask, cfg_normalization=False), **ONE),
    Entry("lumina2-truncated", lumina, lambda ask: as_if_by_eight(ask, cfg_trunc_ratio=0.5), **ONE),
    Entry("sana", sana, deeply, **NETWORK),
    Entry("aura-flow", aura, masked, **NETWORK),
    Entry("qwen-image", qwen, twofold, **NETWORK),
    Entry("chroma", chroma, lambda ask: {**sized(ask), "max_sequence_length": TOKENS}, **NETWORK),
    Entry("z-image", z_image, in_lists, **NETWORK),
    Entry("z-image-normalised", z_image, lambda ask: {**in_lists(ask), "cfg_normalization": 1.0}, **NETWORK),
)
