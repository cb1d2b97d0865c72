"""LeRobot's own DiffusionPolicy, in parallel: run by `make test-lerobot`, which installs it; skipped without."""

import importlib
import sys

import pytest
import torch
from policy.problems import handing_out

from forerun import Sliding
from forerun.policy import Exact, Warm
from forerun.policy.adapters import lerobot

pytest.importorskip("lerobot")

library = torch.library.Library("torchvision", "FRAGMENT")
# missing where torchvision was built for another torch; no one calls them
for operator in ("nms", "qnms"):
    try:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:  # it has them
        break

modeling = importlib.import_module("lerobot.policies.diffusion.modeling_diffusion")
configuration = importlib.import_module("lerobot.policies.diffusion.configuration_diffusion")
types = importlib.import_module("lerobot.configs.types")

STATE, GOAL, ACTIONS = 6, 4, 3


@pytest.fixture
def policy():
    """A small one with the observations of a robot's state and its surroundings, as LeRobot makes it."""
    torch.manual_seed(0)
    feature = types.PolicyFeature
    config = configuration.DiffusionConfig(
        input_features={
            "observation.state": feature(types.FeatureType.STATE, (STATE,)),
            "observation.environment_state": feature(types.FeatureType.ENV, (GOAL,)),
        },
        output_features={"action": feature(types.FeatureType.ACTION, (ACTIONS,))},
        down_dims=(16, 32),
        device="cpu",
    )
    return modeling.DiffusionPolicy(config).eval()


def seen(count: int) -> dict[str, torch.Tensor]:
    return {
        "observation.state": torch.randn(count, STATE),
        "observation.environment_state": torch.randn(count, GOAL),
    }


def own(policy, noise, condition):
    """LeRobot's own loop, with the noise of a tick."""
    model = policy.diffusion
    module = sys.modules[type(model.noise_scheduler).__module__]
    with torch.no_grad(), handing_out(module, iter(noise[1:])):
        return type(model).conditional_sample(model, len(condition), global_cond=condition, noise=noise[0].clone())


@pytest.mark.parametrize("mode", [Exact(), Warm()], ids=["exact", "warm"])
@pytest.mark.parametrize("count", [1, 2])
def test_its_actions_are_those_of_its_own_sampling(policy, mode, count):
    conditions = []
    model = policy.diffusion
    encode = model._prepare_global_conditioning
    model._prepare_global_conditioning = lambda batch: conditions.append(encode(batch)) or conditions[-1]
    with lerobot(policy, mode=mode, tolerance=1e-5, window=Sliding(50)) as ahead:
        policy.reset()
        taken = [policy.select_action(seen(count)) for _ in range(2 * policy.config.n_action_steps)]
        noise = ahead.sampler.noise
        assert ahead.sampler.report.rounds < model.num_inference_steps / 2
    first = policy.config.n_obs_steps - 1
    chunk = own(policy, noise, conditions[-1])[:, first : first + policy.config.n_action_steps]
    last = torch.stack(taken[policy.config.n_action_steps :], 1)
    torch.testing.assert_close(last, chunk, rtol=0, atol=1e-4)
    assert len(conditions) == 2


def test_it_samples_by_itself_again_afterwards(policy):
    with lerobot(policy):
        policy.select_action(seen(1))
    policy.reset()
    torch.manual_seed(1)
    action = policy.select_action(batch := seen(1))
    policy.reset()
    torch.manual_seed(1)
    seen(1)
    assert torch.equal(action, policy.select_action(batch))
