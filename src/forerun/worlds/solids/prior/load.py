"""The trained prior that ships with forerun: pictures of one coloured solid, by prompt and camera."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from forerun.optim.distillation.conditioning import CameraConditioning, FixedPrompt
from forerun.optim.distillation.prior import Prior
from forerun.optim.text3d.camera import Cameras

PRIOR_SIDE = 32  # pixels of the pictures that the prior knows


def load_prior(prompt: str, folder: Path | None = None) -> Prior:
    """Return a UNet of 1.5 million weights for 32 x 32 pictures, with its text already read.

    It knows `prompts.prompt_words()`. `weights/training.json` beside it says how it was trained
    (`python -m forerun.worlds.solids.prior.train`).

    Args:
        prompt: what the pictures show.
        folder: another prior, written by the training.

    Raises:
        ImportError: diffusers or transformers is not installed.
    """
    if folder is not None:
        return _read_prior(prompt, folder)
    with resources.as_file(resources.files("forerun.worlds.solids.prior") / "weights") as shipped:
        return _read_prior(prompt, shipped)


@torch.no_grad()
def _read_prior(prompt: str, folder: Path) -> Prior:
    with _quiet_libraries():
        from diffusers import DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval()
        unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().eval().requires_grad_(False)
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    batch = tokenizer(
        [prompt, ""],
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    prompt_states, empty_states = encoder(batch.input_ids).last_hidden_state.split(1)
    text = FixedPrompt({"encoder_hidden_states": prompt_states}, {"encoder_hidden_states": empty_states})
    conditioning = CameraConditioning(text, _camera_features)
    return Prior(unet.to(memory_format=torch.channels_last), scheduler, conditioning)


def _camera_features(cameras: Cameras) -> Tensor:
    return cameras.features


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Run a block without the progress bars and the advice that libraries print while they load."""
    import transformers.utils.logging

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
