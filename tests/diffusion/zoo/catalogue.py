"""Every entry of the zoo, and what is not in it."""

from __future__ import annotations

from itertools import chain

from diffusion.zoo import (
    adapted,
    audio,
    control,
    flow,
    modular,
    recent,
    stable_diffusion,
    stable_diffusion_xl,
    stages,
    text_to_image,
    unconditional,
    unusual,
    video,
    video_from_image,
)
from diffusion.zoo.entry import Entry

ENTRIES: tuple[Entry, ...] = tuple(
    chain.from_iterable(
        family.ENTRIES
        for family in (
            stable_diffusion,
            stable_diffusion_xl,
            flow,
            unconditional,
            control,
            adapted,
            modular,
            text_to_image,
            recent,
            stages,
            video,
            video_from_image,
            audio,
            unusual,
        )
    )
)
ZOO: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}
LEFT_OUT: dict[str, str] = {
    "Kolors": "its tokenizer needs sentencepiece, which is not installed",
    "Stable Audio with its own scheduler": "it needs torchsde; another scheduler stands for it",
    "modular pipelines guided in some steps": "the guider remembers the last step of a run, so a second one fails",
    "Attend-and-Excite": "it moves the samples along a gradient between two calls of the network",
    "LEdits++, DiffEdit, semantic guidance": "they invert an image first, or keep masks and momentum from step to step",
    "VQ diffusion, aMUSEd": "their samples are tokens, drawn and not computed",
    "ACE-Step, HiDream, OmniGen": "their prompts pass large language models whose tokenizers must come from a hub",
}
