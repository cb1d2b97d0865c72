"""The untrained parts of the prior: tokenizer, text encoder, UNet, scheduler. Needs diffusers."""

from __future__ import annotations

import string
from collections.abc import Sequence

from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from forerun.optim.text3d.camera import CAMERA_FEATURES
from forerun.worlds.scenes.networks import text_encoder_of, tokenizer_of
from forerun.worlds.solids.prior.load import PRIOR_SIDE
from forerun.worlds.solids.prompts import prompt_words

PROMPT_TOKENS = 8  # of a prompt; the longest caption has 5
PROMPT_WIDTH = 64


def unet() -> UNet2DConditionModel:
    """Predicts the velocity of pictures; the camera is added to the timestep, words are attended to."""
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


def tokenizer() -> CLIPTokenizer:
    """One token for every word of the captions; letters for the rest, so that any prompt can be read."""
    return tokenizer_of(prompt_words(), string.ascii_lowercase, PROMPT_TOKENS)


def text_encoder(tokens: CLIPTokenizer) -> CLIPTextModel:
    """A causal transformer of one layer."""
    return text_encoder_of(tokens, PROMPT_WIDTH, layers=1)


def scheduler() -> DDPMScheduler:
    """The noise of DDPM (Ho et al. 2020), told as a velocity."""
    return DDPMScheduler(clip_sample=False, prediction_type="v_prediction")


def tokenize(captions: Sequence[str], tokens: CLIPTokenizer) -> Tensor:
    """Padded to the model's length, int64 `(N, PROMPT_TOKENS)`."""
    batch = tokens(list(captions), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids
