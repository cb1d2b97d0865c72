"""Policies of other code bases, by stand-ins with their interfaces; the real LeRobot has a command of its own."""

import sys
from types import SimpleNamespace

import diffusers
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

    def conditional_sample(self, condition_data, condition_mask, local_cond=None, global_cond=None, **options):
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


@pytest.mark.parametrize("build, adapt", [(OfLeRobot, lerobot), (OfStanford, diffusion_policy)])
def test_another_number_of_observations_gets_the_chunks_of_its_own_loop(build, adapt):
    policy = build()
    predict = policy.predict_action_chunk if build is OfLeRobot else policy.predict_action
    network = policy.diffusion.unet if build is OfLeRobot else policy.model
    scheduler = policy.diffusion.noise_scheduler if build is OfLeRobot else policy.noise_scheduler
    with adapt(policy, mode=Warm(), tolerance=1e-9) as adapter:
        noises = []
        for count in (4, 3):
            seen = torch.randn(count, SEEN, dtype=torch.float64)
            chunk = predict(seen)
            truth = loop(network, scheduler, adapter.sampler.noise, seen)
            truth = truth[:, 1:5] if build is OfLeRobot else truth
            torch.testing.assert_close(chunk, truth, rtol=0, atol=1e-6)
            noises.append(adapter.sampler.noise[:, :3])
            policy.reset()
        assert not torch.equal(*noises)


def test_steps_and_schedulers_that_change_are_followed():
    policy = OfLeRobot()
    seen = torch.randn(1, SEEN, dtype=torch.float64)
    with lerobot(policy, mode=Exact()) as adapter:
        policy.predict_action_chunk(seen)
        first = adapter.sampler
        policy.predict_action_chunk(seen)
        assert adapter.sampler is first
        policy.diffusion.num_inference_steps = 10
        policy.predict_action_chunk(seen)
        assert adapter.sampler.report.length == 10
        policy.diffusion.noise_scheduler = diffusers.DDIMScheduler.from_config(ddpm().config)
        policy.predict_action_chunk(seen)
        assert len(adapter.sampler.noise) == 1


def test_options_of_the_step_that_change_are_followed():
    policy = OfStanford()
    policy.noise_scheduler = diffusers.DDIMScheduler.from_config(ddpm().config)
    data = torch.zeros(1, HORIZON, DIMENSIONS, dtype=torch.float64)
    seen = torch.randn(1, SEEN, dtype=torch.float64)
    with diffusion_policy(policy, mode=Exact()) as adapter:
        for eta, rows in ((0.0, 1), (1.0, 21)):
            policy.conditional_sample(data, torch.zeros_like(data, dtype=torch.bool), global_cond=seen, eta=eta)
            assert len(adapter.sampler.noise) == rows


def test_a_generator_is_refused_by_both():
    policy = OfStanford()
    data = torch.zeros(1, HORIZON, DIMENSIONS, dtype=torch.float64)
    with diffusion_policy(policy), pytest.raises(ValueError, match="seed=0"):
        policy.conditional_sample(data, data.bool(), global_cond=torch.zeros(1, SEEN), generator=torch.Generator())


class Transformer(nn.Module):
    """Takes what was observed as `cond`, two observations of it."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = Unet()

    def forward(self, sample: Tensor, timestep: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.unet(sample, timestep, global_cond=cond.sum(1))


def test_a_transformer_is_conditioned_by_cond():
    policy = OfStanford()
    policy.model = Transformer()
    data = torch.zeros(2, HORIZON, DIMENSIONS, dtype=torch.float64)
    cond = torch.randn(2, 2, SEEN, dtype=torch.float64)
    with diffusion_policy(policy, mode=Exact(), tolerance=1e-9) as adapter:
        chunk = policy.conditional_sample(data, data.bool(), cond=cond)
        truth = loop(policy.model.unet, policy.noise_scheduler, adapter.sampler.noise, cond.sum(1))
        torch.testing.assert_close(chunk, truth, rtol=0, atol=1e-6)
        policy.model = Unet()
        with pytest.raises(ValueError, match="as cond=, which its Unet does not take"):
            policy.conditional_sample(data, data.bool(), cond=cond)


def test_adapters_come_off_in_any_order():
    policy = OfLeRobot()
    first = lerobot(policy)
    second = lerobot(policy, mode=Exact())
    policy.predict_action_chunk(torch.randn(1, SEEN, dtype=torch.float64))
    assert first.sampler is None
    first.restore()
    second.restore()
    second.restore()
    assert vars(policy).keys().isdisjoint({"reset"})
    assert torch.equal(policy.diffusion.conditional_sample(1), torch.zeros(1))


def test_the_error_of_a_block_is_the_users_own():
    def interrupt(adapter):
        with adapter:
            adapter.restore()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt(lerobot(OfLeRobot()))
