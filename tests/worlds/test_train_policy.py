"""Training policies: networks, ranges, files, and going on where a run was stopped."""

import json
from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'forerun[robots]'")

from diffusers import DDIMScheduler, DDPMScheduler

from forerun.policy import Exact, Sampler
from forerun.worlds.robots import tasks
from forerun.worlds.robots import train as training
from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.in_order import InOrderSampler
from forerun.worlds.robots.networks import ChunkPerceptron, ChunkShape, ChunkUNet
from forerun.worlds.robots.policy import ChunkPolicy, shipped_policy
from forerun.worlds.robots.train import PolicySize, PolicyTraining, fit_policy

TINY = PolicySize("perceptron", {"width": 16, "blocks": 2}, 40)
SHIPPED = ("pick-place", "pillar", "peg-insert")


def linear_demonstrations(count=64, seed=0):
    """Return chunks that are a linear function of what was observed."""
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(count, 25, generator=generator)
    observations[:, 7] = 1.0  # a number that never changes
    mix = torch.randn(25, 64, generator=generator) / 25
    return Demonstrations(observations, (observations @ mix).reshape(count, 16, 4))


@pytest.mark.parametrize("size", [TINY, PolicySize("unet", {"width": 8}, 40)], ids=lambda size: size.network)
def test_a_network_treats_each_chunk_by_itself(size):
    torch.manual_seed(0)
    kind = ChunkUNet if size.network == "unet" else ChunkPerceptron
    network = kind(ChunkShape(16, 4, 25), **size.settings).double()
    actions, t, observation = torch.randn(5, 16, 4).double(), torch.arange(5) * 20, torch.randn(5, 25).double()
    network.condition.table = network.condition.table.double()
    together = network(actions, t, observation)
    alone = torch.cat([network(*(rows[k : k + 1] for rows in (actions, t, observation))) for k in range(5)])
    assert together.shape == (5, 16, 4)
    assert torch.allclose(together, alone, atol=1e-12)
    for changed in ((actions + 1, t, observation), (actions, t + 1, observation), (actions, t, observation + 1)):
        assert not torch.allclose(network(*changed), together)


@pytest.mark.parametrize(
    "size, millions", [("SMALL_POLICY", 0.3), ("MEDIUM_POLICY", 2), ("LARGE_POLICY", 10), ("UNET_POLICY", 1.2)]
)
def test_the_sizes_are_what_they_say(size, millions):
    size = getattr(training, size)
    with torch.device("meta"):
        network = (ChunkUNet if size.network == "unet" else ChunkPerceptron)(ChunkShape(16, 4, 25), **size.settings)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.15)


@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
def test_training_learns(prediction, tmp_path):
    settings = PolicyTraining(TINY, 60, prediction=prediction, batch=64, rate=2e-2, horizon=10)
    fit_policy(tasks.PICK_PLACE, linear_demonstrations(), replace(settings, steps=5), tmp_path)
    fit_policy(tasks.PICK_PLACE, linear_demonstrations(), settings, tmp_path)
    early, late = (
        training.training_facts(tasks.PICK_PLACE, replace(settings, steps=n), tmp_path)["loss"] for n in (5, 60)
    )
    assert late < 0.9 * early


def test_a_stopped_run_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch):
    settings = PolicyTraining(TINY, 20, batch=16, horizon=10)
    uninterrupted = fit_policy(tasks.PICK_PLACE, linear_demonstrations(), settings, tmp_path / "whole")
    calls, loss = [0], training.chunk_loss

    def stop(*arguments, **options):
        calls[0] += 1
        if calls[0] == 13:
            raise KeyboardInterrupt
        return loss(*arguments, **options)

    monkeypatch.setattr(training, "chunk_loss", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_policy(tasks.PICK_PLACE, linear_demonstrations(), settings, tmp_path / "parts")
    resumed = fit_policy(tasks.PICK_PLACE, linear_demonstrations(), settings, tmp_path / "parts")
    assert calls[0] == 13 + 20 - 12, "it began again from its beginning"
    for one, other in zip(uninterrupted.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("gripper", [1.0, 10.0])
def test_ranges_are_taken_from_what_was_shown(gripper):
    demonstrations = linear_demonstrations()
    config = {"network": "perceptron", "settings": {"width": 16, "blocks": 2}, "gripper": gripper}
    policy = ChunkPolicy.build(ChunkShape(16, 4, 25), config, DDPMScheduler(num_train_timesteps=100))
    policy.measure_ranges(demonstrations, gripper=gripper)
    encoded = policy.encode_actions(demonstrations.chunks)
    assert torch.allclose(policy.decode_chunks(encoded), demonstrations.chunks, atol=1e-5)
    assert torch.allclose(encoded[..., :3].abs().amax((0, 1)), torch.ones(3), atol=1e-5)
    assert encoded[..., 3].abs().max() == pytest.approx(1 / gripper, abs=1e-5)
    signs = torch.cat([encoded[..., :3], encoded[..., 3:].sign()], -1)
    gripped = policy.decode_chunks(signs, signs=True)[..., 3]
    assert torch.allclose(gripped.amax(), demonstrations.chunks[..., 3].max(), atol=1e-5)
    assert torch.allclose(gripped.amin(), demonstrations.chunks[..., 3].min(), atol=1e-5)
    assert policy.deviation[7] == 1, "a number that never changes is not blown up"


def test_a_policy_is_the_same_after_saving_and_loading(tmp_path):
    policy = fit_policy(tasks.PICK_PLACE, linear_demonstrations(), PolicyTraining(TINY, 2, batch=8), tmp_path / "work")
    policy.save(tmp_path / "first", {"seed": 1})
    rounded = ChunkPolicy.load(tmp_path / "first")  # float16 in the file
    rounded.save(tmp_path / "policy", {"seed": 0})
    again = ChunkPolicy.load(tmp_path / "policy")
    inputs = torch.randn(3, 16, 4), torch.tensor([0, 50, 99]), torch.randn(3, 25)
    assert torch.equal(again(*inputs), rounded(*inputs))
    assert torch.allclose(again(*inputs), policy(*inputs), atol=1e-2)
    assert torch.equal(again.mean, policy.mean), "ranges keep float32"
    assert again.scheduler.config.prediction_type == "sample"
    assert not again.scheduler.config.clip_sample
    assert json.loads((tmp_path / "policy" / "config.json").read_text())["training"] == {"seed": 0}
    assert {file.suffix for file in (tmp_path / "policy").iterdir()} == {".json", ".safetensors"}


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="forerun train-policy"):
        ChunkPolicy.load(tmp_path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_tells_how_it_was_made(name):
    about = json.loads((shipped_policy(name) / "config.json").read_text())["training"]
    assert about["command"].startswith(f"forerun train-policy {name}")
    assert about["task"] == name
    assert sum(file.stat().st_size for file in shipped_policy(name).iterdir()) < 1e6


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler])
def test_shipped_policies_ahead_are_what_they_are_in_order(name, kind):
    policy = ChunkPolicy.load(shipped_policy(name))
    scheduler = kind.from_config(policy.scheduler.config)
    observation = policy.mean + 0.3 * policy.deviation * torch.randn(
        4, policy.shape.observed, generator=torch.Generator().manual_seed(0)
    )
    sampler = Sampler(policy, scheduler, (16, 4), steps=100, environments=4, mode=Exact(), tolerance=1e-3)
    loop = InOrderSampler(policy, scheduler, (4, 16, 4), steps=100)
    sampler.reset()
    chunk = sampler.act(observation)
    # the largest of 256 numbers, in units of the whole range
    assert (chunk - loop.act(observation, sampler.noise)).abs().max() < 5e-3
    assert sampler.report.rounds < 35


def test_the_plain_loop_is_the_schedulers_own():
    policy = ChunkPolicy.load(shipped_policy("pick-place"))
    scheduler = DDIMScheduler.from_config(policy.scheduler.config)
    loop, observation = InOrderSampler(policy, scheduler, (1, 16, 4), steps=10), policy.mean[None]
    noise = torch.randn(1, 1, 16, 4, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(10)
    sample = noise[0]
    for t in scheduler.timesteps:
        sample = scheduler.step(policy(sample, t[None], observation), t, sample).prev_sample
    assert torch.allclose(loop.act(observation, noise), sample, atol=1e-5)


def test_the_plain_loop_refuses_a_scheduler_with_a_history():
    from diffusers import DPMSolverMultistepScheduler

    with pytest.raises(ValueError, match="not affine"):
        InOrderSampler(
            lambda x, t, observation: x, DPMSolverMultistepScheduler(num_train_timesteps=100), (1, 16, 4), steps=10
        )
