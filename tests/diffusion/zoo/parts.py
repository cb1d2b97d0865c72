"""The parts that several families share: tokenizers, text and image encoders, autoencoders, and lively weights."""

from __future__ import annotations

import string
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

TOKENS = 16  # length of a prompt
WIDTH = 32  # of a text encoder
LETTERS = string.ascii_lowercase
WORDS = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
T5_LETTERS = ["▁", *string.ascii_lowercase, *string.ascii_uppercase, *string.digits, ".", ",", ":", "-", '"', "'"]


def lively(model: Any, gain: float = 1.0) -> Any:
    """The model, in eval mode, with weights that keep the size of what passes through.

    Some initial weights are zero (output layers, modulations), some let a sample vanish. Matrices get `gain / sqrt(n)`,
    vectors a small spread about what they were.
    """
    with torch.no_grad():
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                if isinstance(module, nn.Embedding):
                    weight.normal_(std=0.5)
                elif name.endswith("weight") and weight.dim() > 1:
                    weight.normal_(std=gain / weight[0].numel() ** 0.5)
                elif name.endswith("weight"):
                    weight.normal_(1.0, 0.1)
                elif name.endswith("bias"):
                    weight.normal_(std=0.1)
                else:
                    weight.normal_(std=0.3)
    return model.eval()


def clip_tokenizer() -> Any:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def t5_tokenizer(length: int = TOKENS) -> Any:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -2.0) for letter in T5_LETTERS]
    return transformers.T5Tokenizer(vocab=special + letters, extra_ids=0, model_max_length=length)


def clip_text(projection: bool = False, **more: Any) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=len(WORDS) - 2,
        eos_token_id=len(WORDS) - 1,
        pad_token_id=len(WORDS) - 1,
        **more,
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config).eval()


def clip_image(size: int = 32, projection: int = WIDTH) -> Any:
    config = transformers.CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=size,
        patch_size=8,
        projection_dim=projection,
    )
    return transformers.CLIPVisionModelWithProjection(config).eval()


def clip_features(size: int = 32) -> Any:
    return transformers.CLIPImageProcessor(size=size, crop_size=size)


def t5_text(width: int = WIDTH, **more: Any) -> Any:
    config = transformers.T5Config(
        vocab_size=3 + len(T5_LETTERS), d_model=width, d_kv=8, d_ff=width, num_layers=2, num_heads=2, **more
    )
    return transformers.T5EncoderModel(config).eval()


class Sure(diffusers.AutoencoderKL):
    """An autoencoder that draws no noise, for pipelines that would take it from the global generator."""

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        encoded = super().encode(*args, **kwargs)
        encoded[0].std = torch.zeros_like(encoded[0].std)
        return encoded


def autoencoder(channels: int = 4, blocks: int = 2, sure: bool = False, **more: Any) -> Any:
    """Halves an image `blocks - 1` times, to latents of so many channels."""
    options = {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8,) * blocks,
        "down_block_types": ("DownEncoderBlock2D",) * blocks,
        "up_block_types": ("UpDecoderBlock2D",) * blocks,
        "layers_per_block": 1,
        "latent_channels": channels,
        "norm_num_groups": 2,
        "sample_size": 16,
    }
    return (Sure if sure else diffusers.AutoencoderKL)(**{**options, **more}).eval()


def picture(size: int = 16, batch: int = 1, seed: int = 5, channels: int = 3) -> torch.Tensor:
    """An image with values in [0, 1], `(batch, channels, size, size)`."""
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(seed))
