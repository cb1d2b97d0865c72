"""Text for small models: a tokenizer with one token for every word it knows, a causal encoder, networks that use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import final

from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START_TOKEN = "<|startoftext|>"
END_TOKEN = "<|endoftext|>"


@final
class TextReader(nn.Module):
    """A text encoder whose last token says what a text means; the heads serve to pretrain it.

    Args:
        encoder: the text encoder.
        logits: number of logits that the heads give.
    """

    def __init__(self, encoder: CLIPTextModel, logits: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.Linear(encoder.config.hidden_size, logits)

    def forward(self, tokens: Tensor) -> Tensor:
        last_token = self.encoder(tokens).last_hidden_state[:, -1]
        logits: Tensor = self.heads(last_token)
        return logits


@final
class TextUNet(nn.Module):
    """A UNet and the text encoder that it is trained together with."""

    def __init__(self, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def forward(self, noisy: Tensor, timestep: Tensor, tokens: Tensor, **conditions: Tensor) -> Tensor:
        text = self.encoder(tokens).last_hidden_state
        predicted: Tensor = self.unet(noisy, timestep, text, **conditions).sample
        return predicted


def word_tokenizer(words: Iterable[str], letters: str, length: int) -> CLIPTokenizer:
    """Return a tokenizer with one token for every word and one for every letter.

    Args:
        words: the vocabulary.
        letters: in which any other text is read.
        length: number of tokens of a text.
    """
    merges = byte_pair_merges(words)
    final_letters = [f"{letter}</w>" for letter in letters]
    merged_pieces = ["".join(pair) for pair in merges]
    pieces = [*letters, *final_letters, *merged_pieces, START_TOKEN, END_TOKEN]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def tokenize_texts(texts: Sequence[str], tokenizer: CLIPTokenizer) -> Tensor:
    """Return the tokens of texts, padded to the model's length, int64 `(N, length)`; just as pipelines do it."""
    batch = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    tokens: Tensor = batch.input_ids
    return tokens


def causal_encoder(
    tokenizer: CLIPTokenizer,
    width: int,
    *,
    layers: int,
) -> CLIPTextModel:
    """Return an untrained causal transformer of four heads that reads what a tokenizer gives."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def byte_pair_merges(vocabulary: Iterable[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges that make one token of every word: the most frequent pair first, until none is left."""
    spellings = [[*word[:-1], f"{word[-1]}</w>"] for word in sorted(vocabulary)]
    merges: list[tuple[str, str]] = []
    while pairs := _count_pairs(spellings):
        # the alphabet breaks ties, so that the same words always give the same tokens
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spellings = [_merge_pair(spelling, best) for spelling in spellings]
    return merges


def _count_pairs(spellings: Iterable[Sequence[str]]) -> Counter[tuple[str, str]]:
    """Return how often every pair of neighbouring pieces occurs."""
    pairs: Counter[tuple[str, str]] = Counter()
    for spelling in spellings:
        pairs.update(pairwise(spelling))
    return pairs


def _merge_pair(spelling: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Return a spelling in which every occurrence of a pair is one piece."""
    pieces: list[str] = []
    for piece in spelling:
        if pieces and (pieces[-1], piece) == pair:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces
