"""A wrong observation is refused before anything runs; a wrong answer never reaches a robot."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from policy.problems import OBS, SHAPE, ddpm, network, own_loop, seen
from torch import Tensor

from forerun.policy import Exact, NotFinite, Sampler, Warm

FLOAT = torch.float64


def sampler(denoiser: Any = network, **options: Any) -> Sampler:
    chosen = {"steps": 20, "executed": 3, "tolerance": 1e-7, "dtype": FLOAT, **options}
    return Sampler(denoiser, ddpm(), SHAPE, **chosen)


class Broken:
    """The network, but for some ticks: not a number for the environments whose observation begins with `bad`."""

    def __init__(self, bad: float) -> None:
        self.bad = bad
        self.broken = False

    def __call__(self, x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        found = network(x, t, observation)
        hit = (observation[:, 0] == self.bad) & (t < 50)
        return found.masked_fill(hit[:, None, None], torch.nan) if self.broken else found


@pytest.mark.parametrize(
    "observation, error, words",
    [
        (torch.zeros(OBS + 1), ValueError, r"takes \[5\]"),
        (torch.zeros(2, OBS), ValueError, r"environments=2"),
        (torch.zeros(OBS, dtype=torch.int64), TypeError, r"observation\.float\(\)"),
        (np.zeros(OBS, dtype=bool), TypeError, r"observation\.float\(\)"),
        ({"state": torch.zeros(OBS)}, TypeError, r"torch\.cat"),
        (torch.tensor([0.0, torch.nan, 0.0, 0.0, 0.0]), ValueError, r"environment\(s\) \[0\] .* not finite"),
        (torch.tensor([0.0, torch.inf, 0.0, 0.0, 0.0]), ValueError, "sensors"),
    ],
)
def test_bad_observations_are_refused_before_the_network_is_called(observation: Any, error: Any, words: str) -> None:
    calls: list[int] = []

    def counted(x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        calls.append(len(x))
        return network(x, t, observation)

    policy = sampler(counted, observation=(OBS,))
    with pytest.raises(error, match=words):
        policy.act(observation)
    assert not calls
    assert policy.act(torch.zeros(OBS)).shape == SHAPE  # and it can go on


def test_arrays_of_any_float_are_taken_and_a_batch_gives_a_batch() -> None:
    policy = sampler(observation=(OBS,), dtype=torch.float32)
    observation = seen(0)
    plain = policy.act(observation.numpy())
    assert plain.shape == SHAPE
    assert plain.dtype == torch.float32
    again = sampler(observation=(OBS,), dtype=torch.float32).act(observation.float()[None])
    assert again.shape == (1, *SHAPE)
    assert torch.equal(again[0], plain)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"steps": 101}, r"trained with 100 timesteps.*steps=100"),
        ({"steps": 0}, r"steps = 0"),
        ({"executed": 9}, r"executed = 9"),
        ({"executed": 0}, r"executed = 0"),
        ({"first": 8}, r"first = 8"),
        ({"environments": 0}, r"environments = 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampler(**options)
    with pytest.raises(ValueError, match=r"\(16, 4\)"):
        Sampler(network, ddpm(), (16,))
    with pytest.raises(TypeError, match="DDPMScheduler"):
        Sampler(network, object(), SHAPE)


def test_a_denoiser_of_another_shape_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"return a tensor of the same shape"):
        sampler(lambda x, t, observation: x[:, :1]).act(seen(0))


def test_a_batch_begins_with_a_reset_and_an_ended_episode_waits_for_its_own() -> None:
    policy = sampler(environments=3)
    with pytest.raises(ValueError, match=r"\[0, 1, 2\] of 3"):
        policy.act(seen(0, 3))
    policy.reset()
    policy.act(seen(0, 3))
    policy.ended([False, True, False])
    with pytest.raises(ValueError, match=r"sampler\.reset\(\[1\]\)"):
        policy.act(seen(1, 3))
    policy.reset([1])
    policy.act(seen(1, 3))
    with pytest.raises(ValueError, match=r"environments=2"):
        policy.act(seen(1, 2))
    for wrong in ([3], [True, False], [-1]):
        with pytest.raises(ValueError, match="does not choose among 3"):
            policy.reset(wrong)


@pytest.mark.parametrize("mode", [Exact(), Warm()], ids=repr)
def test_what_is_not_finite_is_held_and_the_others_get_their_exact_answer(mode: Any) -> None:
    broken = Broken(bad=7.0)
    policy = sampler(broken, environments=2, mode=mode)
    policy.reset()
    observation = seen(0, 2)
    observation[0, 0] = 7.0
    good = policy.act(observation)
    broken.broken = True
    for _ in range(2):
        chunk = policy.act(observation)
        own = own_loop(ddpm(), 20, policy.noise, observation)
        assert policy.report.action_held == (True, False)
        assert "held" in policy.report.sentence
        assert torch.equal(chunk[0], good[0, 3].expand(SHAPE)), "the next action of the last good chunk"
        assert float((chunk[1] - own[1]).abs().max()) < 1e-5
    broken.broken = False
    chunk = policy.act(observation)
    own = own_loop(ddpm(), 20, policy.noise, observation)
    assert policy.report.action_held == (False, False)
    assert float((chunk - own).abs().max()) < 1e-5


def test_without_a_good_chunk_what_is_not_finite_is_an_error() -> None:
    broken = Broken(bad=7.0)
    broken.broken = True
    policy = sampler(broken)
    with pytest.raises(NotFinite, match=r"environment\(s\) \[0\]"):
        policy.act(torch.full((OBS,), 7.0))
    broken.broken = False
    policy.act(torch.full((OBS,), 7.0))
    broken.broken = True
    assert torch.isfinite(policy.act(torch.full((OBS,), 7.0))).all()
    policy.reset()  # a chunk of the episode before is none of this one
    with pytest.raises(NotFinite):
        policy.act(torch.full((OBS,), 7.0))


def everything(x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
    return torch.full_like(x, torch.inf)


def nothing_at_the_end(x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
    return torch.where((t == 0)[:, None, None], torch.nan, network(x, t, observation))


@pytest.mark.parametrize("denoiser", [everything, nothing_at_the_end])
def test_no_chunk_is_ever_not_finite(denoiser: Callable[..., Tensor]) -> None:
    policy = sampler(denoiser, environments=2)
    policy.reset()
    with pytest.raises(NotFinite):
        policy.act(seen(0, 2))
