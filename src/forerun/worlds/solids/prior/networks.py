"""The untrained parts of the prior: tokenizer, text encoder, UNet, scheduler. Needs diffusers."""

from __future__ import annotations

import string

from diffusers import DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from forerun.optim.text3d.camera import CAMERA_FEATURES
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.prompts import prompt_words
from forerun.worlds.text import causal_encoder, word_tokenizer

PROMPT_TOKENS = 8  # of a prompt; the longest one has 5
PROMPT_WIDTH = 64


def build_prior_unet() -> UNet2DConditionModel:
    """Return a UNet that predicts the velocity of pictures.

    The camera is added to the timestep, words are attended to.
    """
    return UNet2DConditionModel(
        sample_size=PRIOR_SIDE,
        in_channels=3,
        out_channels=3,
        block_out_channels=(24, 48, 72),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=PROMPT_WIDTH,
        attention_head_dim=4,  # diffusers reads it as the number of heads
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="projection",
        projection_class_embeddings_input_dim=CAMERA_FEATURES,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_prompt_tokenizer() -> CLIPTokenizer:
    """Return a tokenizer of the prompts' words; other words are read letter by letter, so any prompt can be read."""
    return word_tokenizer(prompt_words(), string.ascii_lowercase, PROMPT_TOKENS)


def build_prompt_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a causal transformer of one layer."""
    return causal_encoder(tokenizer, PROMPT_WIDTH, layers=1)


def build_noise_schedule() -> DDPMScheduler:
    """Return a scheduler with the noise of DDPM (Ho et al. 2020), predicted as a velocity."""
    return DDPMScheduler(clip_sample=False, prediction_type="v_prediction")
