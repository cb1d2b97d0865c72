"""Score distillation of a voxel field with the shipped prior, in parallel over steps."""

import torch

from forerun import Sliding
from forerun.optim import Batched, Loop, StepLength
from forerun.optim.distillation import SDS, AnnealedRange
from forerun.optim.text3d.camera import held_out_cameras, random_cameras
from forerun.optim.text3d.field import blob_field, render_fields
from forerun.worlds.solids.prior.load import load_prior
from forerun.worlds.solids.prompts import parse_prompt
from forerun.worlds.solids.render import render_solid
from forerun.worlds.solids.sculpture import psnr

torch.set_num_threads(1)
STEPS = 48

prior = load_prior("a yellow cone")  # any diffusers model: Prior(unet, scheduler, conditioning)
sds = SDS(prior, guidance=1.5, timesteps=AnnealedRange(STEPS))
field = blob_field(16).requires_grad_()
cameras = random_cameras(STEPS, torch.Generator().manual_seed(0))  # a camera a step


def losses(fields, steps):
    """Of the steps of a window, each with a field of its own: one call of the network."""
    return sds(render_fields(fields, cameras[steps], 32), steps, cameras[steps])


loop = Loop(
    field,
    torch.optim.Adam([field], 0.2),
    lambda field, step: losses(field[None], torch.tensor([step]))[0],
    gradients=Batched(losses),
    window=Sliding(8),
    tolerance=StepLength(0.3),
)
print(loop.run(STEPS).solution())
with torch.no_grad():
    found = psnr(
        render_fields(field[None], held_out_cameras(), 32)[0],
        render_solid(parse_prompt("a yellow cone"), held_out_cameras(), 32),
    )
print(f"{found:.1f} dB to the true cone, over views that no step has seen")
