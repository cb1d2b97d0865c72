"""The trained pipeline that ships with forerun: text to pictures of one or two coloured solids. Needs diffusers."""

from __future__ import annotations

from importlib import resources

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline


def load_scenes_pipeline(dtype: torch.dtype = torch.float32) -> StableDiffusionPipeline:
    """Return a Stable Diffusion pipeline of four million weights that draws 64 x 64 pictures on one core in seconds.

    It knows the words of `captions.caption_words()`: "a red torus left of a blue cube", say. `weights/training.json`
    beside it says how it was trained (`python -m forerun.worlds.scenes.train`).
    """
    with resources.as_file(resources.files("forerun.worlds.scenes") / "weights") as folder:
        # not an argument of from_pretrained, whose name for it changes with the version of diffusers
        pipeline: StableDiffusionPipeline = DiffusionPipeline.from_pretrained(folder).to(dtype)
    return pipeline
