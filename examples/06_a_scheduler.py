"""A bare network and any scheduler of diffusers, no pipeline: digits by DPM-Solver++ 2M and by ancestral Euler."""

import torch
from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler

from forerun import Full, Sequential
from forerun.diffusion import sample
from forerun.worlds.digits import load_digits_denoiser

torch.set_num_threads(1)
network = load_digits_denoiser()
noise = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))

for kind in (DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler):
    scheduler = kind(beta_start=1e-4, beta_end=0.02, prediction_type="v_prediction")
    found = [
        sample(
            network.predict_velocity,
            scheduler,
            noise,
            steps=50,
            generator=torch.Generator().manual_seed(1),
            **how,
        )
        for how in ({"method": Sequential()}, {"window": Full()})
    ]
    own, ahead = found
    off = (own.state - ahead.state).square().mean().sqrt()
    print(f"{kind.__name__}: {own.rounds} rounds in order, {ahead.rounds} ahead, rms apart {off:.1e}")
