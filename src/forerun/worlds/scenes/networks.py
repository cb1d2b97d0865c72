"""The untrained parts of the pipeline: autoencoder, tokenizer, text encoder, UNet, scheduler. Needs diffusers."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from forerun.worlds.scenes.captions import caption_words

CAPTION_TOKENS = 20  # of a prompt; the longest caption has 17
CAPTION_WIDTH = 96
LATENT_CHANNELS = 4
LOG_VARIANCE = -5.0  # of the latents, once whitened
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"


def autoencoder() -> AutoencoderKL:
    """64 x 64 pixels to 16 x 16 latents of four channels and back."""
    return AutoencoderKL(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def unet() -> UNet2DConditionModel:
    """Predicts the velocity of the latents; words reach it by attention, and their summary beside the timestep."""
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


def tokenizer() -> CLIPTokenizer:
    """One token for every word of the captions; letters for the rest, so that any prompt can be read."""
    return tokenizer_of(caption_words(), string.ascii_lowercase + string.digits + string.punctuation, CAPTION_TOKENS)


def tokenizer_of(known: Iterable[str], letters: str, length: int) -> CLIPTokenizer:
    """One token for every known word, one for every letter, and texts of a length."""
    merges = byte_pair_merges(known)
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, START_TOKEN, END_TOKEN])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def text_encoder(tokens: CLIPTokenizer) -> CLIPTextModel:
    """A causal transformer of two layers; only the tokens after the last word have read all of it."""
    return text_encoder_of(tokens, CAPTION_WIDTH, layers=2)


def text_encoder_of(tokens: CLIPTokenizer, width: int, *, layers: int) -> CLIPTextModel:
    """A causal transformer of four heads that reads what a tokenizer gives."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=tokens.model_max_length,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise, with steps that begin at its far end."""
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
def whiten(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Turn and rescale the latents of `pictures` to zero mean and unit covariance of channels; decoding undoes it.

    The two 1 x 1 convolutions next to the latents take the change in, so the pipeline's own factor becomes one.
    The variance that the encoder tells becomes a constant.
    """
    latents = vae.encode(pictures).latent_dist.mean.transpose(0, 1).flatten(1)
    mean, (variances, axes) = latents.mean(1), torch.linalg.eigh(torch.cov(latents))
    turn, back = (axes / variances.sqrt()).T, axes * variances.sqrt()
    inward, outward = vae.quant_conv, vae.post_quant_conv
    outward.bias += outward.weight[:, :, 0, 0] @ mean
    outward.weight.copy_((outward.weight[:, :, 0, 0] @ back)[:, :, None, None])
    weight, bias = inward.weight[:LATENT_CHANNELS, :, 0, 0], inward.bias[:LATENT_CHANNELS]
    inward.weight.copy_(torch.cat([turn @ weight, torch.zeros_like(weight)])[:, :, None, None])
    inward.bias.copy_(torch.cat([turn @ (bias - mean), torch.full_like(bias, LOG_VARIANCE)]))
    vae.register_to_config(scaling_factor=1.0)


def byte_pair_merges(vocabulary: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges that make one token of every word: the most frequent pair first, until none is left."""
    pieces = [[*word[:-1], f"{word[-1]}</w>"] for word in sorted(vocabulary)]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        # the alphabet breaks ties, so that the same words always give the same tokens
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merged(word, best) for word in pieces]
    return merges


def _merged(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for piece in word:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
