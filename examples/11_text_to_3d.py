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
    """Return the losses of a window's steps, each with a field of its own, by one call of the network."""
    pictures = render_fields(fields, cameras[steps], 32)
    return sds(pictures, steps, cameras[steps])


def loss(field, step):
    """Return the loss of one step."""
    return losses(field[None], torch.tensor([step]))[0]


loop = Loop(
    field,
    torch.optim.Adam([field], 0.2),
    loss,
    gradients=Batched(losses),
    window=Sliding(8),
    tolerance=StepLength(0.3),
)
print(loop.run(STEPS).solution())
with torch.no_grad():
    views = render_fields(field[None], held_out_cameras(), 32)[0]
true_views = render_solid(parse_prompt("a yellow cone"), held_out_cameras(), 32)
print(f"{psnr(views, true_views):.1f} dB to the true cone, over views that no step has seen")
