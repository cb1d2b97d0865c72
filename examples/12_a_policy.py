"""A diffusion policy: a point walks to a goal. Its chunks of actions are sampled in parallel over steps.

The network is made by hand, so that nothing has to be trained: it knows the way, and is a little distracted by the
noise that it looks at.
"""

import torch
from diffusers import DDPMScheduler

from forerun.policy import Exact, Sampler, Warm

HORIZON, STRIDE = 16, 0.05


def denoiser(actions, t, observation):
    """Return denoised chunks (N, 16, 2) from noisy ones, timesteps (N,) and observations (N, 4): place and goal."""
    place, goal = observation.split(2, -1)
    path = (goal - place).unsqueeze(1) / STRIDE  # in actions
    walked = torch.arange(HORIZON).reshape(1, -1, 1) * path / path.norm(dim=-1, keepdim=True).clamp_min(1)
    remaining = path - walked
    aim = torch.where((remaining * path).sum(-1, keepdim=True) > 0, remaining, 0.0)
    aim = aim / aim.norm(dim=-1, keepdim=True).clamp_min(1)
    clean = 1 - t.reshape(-1, 1, 1) / 100
    return 0.8 * aim + 0.2 * clean * torch.tanh(actions)


def walk(sampler, executed):
    """Observe, act, execute the first actions; return the distance from the goal, and every tick's rounds."""
    place = torch.zeros(2)
    goal = torch.tensor([1.0, -0.5])
    rounds = []
    while len(rounds) * executed < 40:
        chunk = sampler.act(torch.cat([place, goal]))
        rounds.append(sampler.report.rounds)
        for action in chunk[:executed]:
            place = place + STRIDE * action
    sampler.reset()
    return (place - goal).norm(), rounds


scheduler = DDPMScheduler(
    num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=True
)
for mode in (Exact(), Warm()):
    sampler = Sampler(denoiser, scheduler, (HORIZON, 2), steps=100, executed=1, mode=mode)
    distance, rounds = walk(sampler, executed=1)
    print(f"{mode}: {distance:.2f} from the goal, {sum(rounds) / len(rounds):.1f} rounds a tick instead of 100")
print(sampler.report)

# The same chunk by the scheduler's own loop, with the noise of the tick.
scheduler.set_timesteps(100)
exact = Sampler(denoiser, scheduler, (HORIZON, 2), executed=8)
observation = torch.tensor([0.0, 0.0, 1.0, -0.5])
chunk = exact.act(observation)
x, sigma = exact.noise[0], exact.plan.sigma
for step, t in enumerate(scheduler.timesteps):
    prediction = denoiser(x, t.expand(1), observation[None])
    x = scheduler.step(prediction, t, x, generator=torch.Generator().manual_seed(0)).prev_sample
    if t > 0:  # the scheduler's own noise gives way to the tick's
        own_noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        x = x + sigma[step] * (exact.noise[1 + step] - own_noise)
print(f"off the scheduler's own loop by at most {(chunk - x[0]).abs().max():.1e}")
