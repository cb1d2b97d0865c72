"""A pipeline of diffusers with a scheduler of its user's choice, and one more line: the same image in fewer rounds."""

import torch
from diffusers import UniPCMultistepScheduler

from forerun import Full
from forerun.diffusion import parallel
from forerun.worlds.scenes.load import load_scenes_pipeline

torch.set_num_threads(1)
pipe = load_scenes_pipeline()  # or DiffusionPipeline.from_pretrained of your own
pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)


def draw():
    """The images of the pipeline, `(N, 3, H, W)` in 0 .. 1."""
    generator = torch.Generator().manual_seed(0)
    asked = {"num_inference_steps": 30, "guidance_scale": 2.0, "generator": generator, "output_type": "pt"}
    return pipe("a small green cone above a grey cube", **asked).images


own = draw()
with parallel(pipe, window=Full()) as run:  # without a window it measures, and declines where nothing is won
    ahead = draw()
print(run.solution)
print(f"largest difference of a pixel: {255 * (own - ahead).abs().max():.2g} of 255")
