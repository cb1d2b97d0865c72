"""The untrained parts of the scenes' pipeline: autoencoder, text encoder, UNet, scheduler. Needs diffusers."""

from __future__ import annotations

import string

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from forerun.worlds.scenes.captions import caption_words
from forerun.worlds.text import causal_encoder, word_tokenizer

CAPTION_TOKENS = 20  # of a prompt; the longest caption has 17
CAPTION_WIDTH = 96
LATENT_CHANNELS = 4
LOG_VARIANCE = -5.0  # of the latents, once whitened


def build_autoencoder() -> AutoencoderKL:
    """Return an autoencoder from 64 x 64 pixels to 16 x 16 latents of four channels and back."""
    return AutoencoderKL(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def build_unet() -> UNet2DConditionModel:
    """Return a UNet that predicts the velocity of the latents.

    Words reach it by attention, and their summary beside the timestep.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=CAPTION_WIDTH,
        attention_head_dim=4,  # diffusers reads it as the number of heads
        norm_num_groups=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer of the captions' words; other words are read letter by letter, so any prompt can be read."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    return word_tokenizer(caption_words(), letters, CAPTION_TOKENS)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a causal transformer of two layers; only the tokens after the last word have read all of it."""
    return causal_encoder(tokenizer, CAPTION_WIDTH, layers=2)


def build_scheduler() -> DDIMScheduler:
    """Return a scheduler with Stable Diffusion's noise, and steps that begin at its far end."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,  # without effect here, but diffusers warns of 0
    )


@torch.no_grad()
def whiten_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Turn and rescale an autoencoder's latents to zero mean and unit covariance of channels; decoding undoes it.

    The two 1 x 1 convolutions next to the latents absorb the change, so the pipeline's own factor becomes one.
    The variance that the encoder predicts becomes a constant.

    Args:
        vae: the autoencoder, changed in place.
        pictures: `(N, 3, 64, 64)` in [-1, 1], by whose latents the change is measured.
    """
    latents = vae.encode(pictures).latent_dist.mean.transpose(0, 1).flatten(1)
    mean = latents.mean(1)
    variances, axes = torch.linalg.eigh(torch.cov(latents))
    deviations = variances.sqrt()
    _colour_outputs(vae, mean, axes * deviations)
    _whiten_inputs(vae, mean, (axes / deviations).T)
    vae.register_to_config(scaling_factor=1.0)


def _colour_outputs(vae: AutoencoderKL, mean: Tensor, back: Tensor) -> None:
    """Let the first convolution of the decoder undo the whitening."""
    convolution = vae.post_quant_conv
    weight = convolution.weight[:, :, 0, 0]
    convolution.bias += weight @ mean
    convolution.weight.copy_((weight @ back)[:, :, None, None])


def _whiten_inputs(vae: AutoencoderKL, mean: Tensor, turn: Tensor) -> None:
    """Let the last convolution of the encoder whiten the means, and predict a constant variance."""
    convolution = vae.quant_conv
    weight = convolution.weight[:LATENT_CHANNELS, :, 0, 0]
    bias = convolution.bias[:LATENT_CHANNELS]
    whitened_weight = torch.cat([turn @ weight, torch.zeros_like(weight)])
    whitened_bias = torch.cat([turn @ (bias - mean), torch.full_like(bias, LOG_VARIANCE)])
    convolution.weight.copy_(whitened_weight[:, :, None, None])
    convolution.bias.copy_(whitened_bias)
