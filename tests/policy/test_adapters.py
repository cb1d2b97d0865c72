"""Policies of other code bases, by stand-ins with their interfaces; the real LeRobot has a command of its own."""

import sys
from types import SimpleNamespace

import pytest
import torch
from policy.problems import ddpm, handing_out
from torch import Tensor, nn

from forerun.policy import Exact, Warm
from forerun.policy.adapters import diffusion_policy, lerobot

HORIZON, DIMENSIONS, SEEN = 8, 3, 10


class Unet(nn.Module):
    """A small network with the call of both code bases."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = nn.Linear(HORIZON * DIMENSIONS + SEEN + 1, HORIZON * DIMENSIONS).double()

    def forward(
        self, x: Tensor, t: Tensor, local_cond: Tensor | None = None, global_cond: Tensor | None = None
    ) -> Tensor:
        seen = local_cond if global_cond is None else global_cond
        time = t.to(x).expand(len(x))[:, None] / 100
        return torch.tanh(self.lines(torch.cat([x.flatten(1), seen, time], 1))).reshape(x.shape)


def loop(unet: Unet, scheduler, noise: Tensor, seen: Tensor) -> Tensor:
    """Both code bases' loop: noise, then every step of the scheduler."""
    scheduler.set_timesteps(20)
    x, rows = noise[0], iter(noise[1:])
    with torch.no_grad(), handing_out(sys.modules[type(scheduler).__module__], rows):
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t.expand(len(x)), global_cond=seen), t, x).prev_sample
    return x


class Diffusion(nn.Module):
    """The model inside of LeRobot's policy."""

    def __init__(self) -> None:
        super().__init__()
        self.unet, self.noise_scheduler, self.num_inference_steps = Unet(), ddpm(), 20

    def conditional_sample(self, batch_size: int, global_cond=None, generator=None, noise=None) -> Tensor:
        return torch.zeros(batch_size)


class OfLeRobot:
    """The parts of LeRobot's DiffusionPolicy that sampling meets."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(
            horizon=HORIZON, n_action_steps=4, n_obs_steps=2, action_feature=SimpleNamespace(shape=(DIMENSIONS,))
        )
        self.diffusion = Diffusion()
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def predict_action_chunk(self, seen: Tensor) -> Tensor:
        return self.diffusion.conditional_sample(len(seen), global_cond=seen)[:, 1:5]


class OfStanford:
    """The parts of a policy of diffusion_policy that sampling meets."""

    def __init__(self, painted: bool = False) -> None:
        self.model, self.noise_scheduler, self.num_inference_steps = Unet(), ddpm(), 20
        self.n_action_steps, self.n_obs_steps, self.painted = 4, 2, painted

    def reset(self) -> None:
        pass

    def conditional_sample(self, condition_data, condition_mask, local_cond=None, global_cond=None, generator=None):
        raise AssertionError("a sampler stands here")

    def predict_action(self, seen: Tensor) -> Tensor:
        data = torch.zeros(len(seen), HORIZON, DIMENSIONS, dtype=torch.float64)
        mask = torch.full_like(data, self.painted, dtype=torch.bool)
        return self.conditional_sample(data, mask, local_cond=None, global_cond=seen)


@pytest.mark.parametrize("mode", [Exact(), Warm()], ids=["exact", "warm"])
@pytest.mark.parametrize("environments", [1, 3])
def test_lerobots_policy_gets_the_chunks_of_its_own_loop(mode, environments):
    torch.manual_seed(0)
    policy = OfLeRobot()
    with lerobot(policy, mode=mode, tolerance=1e-9) as ahead:
        for _ in range(3):
            seen = torch.randn(environments, SEEN, dtype=torch.float64)
            chunk = policy.predict_action_chunk(seen)
            own = loop(policy.diffusion.unet, policy.diffusion.noise_scheduler, ahead.sampler.noise, seen)[:, 1:5]
            torch.testing.assert_close(chunk, own, rtol=0, atol=1e-6)
            assert ahead.sampler.report.rounds < 20
        policy.reset()
        assert policy.resets == 1
    assert torch.equal(policy.diffusion.conditional_sample(1), torch.zeros(1))
    policy.reset()
    assert policy.resets == 2


def test_lerobots_own_noise_is_refused():
    policy = OfLeRobot()
    with lerobot(policy), pytest.raises(ValueError, match="seed=0"):
        policy.diffusion.conditional_sample(1, global_cond=torch.zeros(1, SEEN), noise=torch.zeros(1))


def test_a_policy_of_diffusion_policy_gets_the_chunks_of_its_own_loop():
    torch.manual_seed(0)
    policy = OfStanford()
    with diffusion_policy(policy, mode=Warm(), tolerance=1e-9) as ahead:
        for _ in range(3):
            seen = torch.randn(2, SEEN, dtype=torch.float64)
            chunk = policy.predict_action(seen)
            own = loop(policy.model, policy.noise_scheduler, ahead.sampler.noise, seen)
            torch.testing.assert_close(chunk, own, rtol=0, atol=1e-6)
    with pytest.raises(AssertionError, match="a sampler stands here"):
        policy.predict_action(seen)


def test_observations_that_are_painted_in_are_refused():
    policy = OfStanford(painted=True)
    with diffusion_policy(policy), pytest.raises(ValueError, match="obs_as_global_cond"):
        policy.predict_action(torch.zeros(1, SEEN, dtype=torch.float64))


def test_another_object_is_refused():
    with pytest.raises(TypeError, match="Sampler\\(denoiser"):
        lerobot(SimpleNamespace(reset=lambda: None))
    with pytest.raises(TypeError, match="noise_scheduler"):
        diffusion_policy(nn.Linear(1, 1))
