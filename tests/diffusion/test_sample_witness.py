"""Schedulers and denoisers of one's own in `sample`: the sample of the ordinary loop, or a word."""

import warnings
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler
from torch import Tensor, nn

import forerun
from forerun.diffusion import sample
from forerun.engine.witness import WitnessDisagrees, WitnessWarning

STEPS = 16
OPTIONS: dict[str, Any] = {"steps": STEPS, "window": forerun.Full(), "tolerance": 1e-4}


def make_denoiser() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 4, 3, padding=1)).requires_grad_(False)


NETWORK = make_denoiser()
NOISE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def denoise(x: Tensor, t: Tensor) -> Tensor:
    return NETWORK(x) * t.reshape(-1, 1, 1, 1) / 1000


def run_ordinary_loop(denoiser: Any, scheduler: Any, noise: Tensor = NOISE) -> Tensor:
    scheduler.set_timesteps(STEPS)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        result = scheduler.step(denoiser(scaled, t.expand(len(x))), t, x)
        x = result if isinstance(result, Tensor) else result[0]
    return x


class OwnNoise(EulerAncestralDiscreteScheduler):
    """Draws from a generator of its own."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.own_generator = torch.Generator().manual_seed(7)

    def step(self, model_output: Any, timestep: Any, sample: Any, generator: Any = None, **more: Any) -> Any:
        return super().step(model_output, timestep, sample, generator=self.own_generator, **more)


class MeanKeeping(DDIMScheduler):
    """Takes away a running mean of its samples."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.mean = 0.0

    def step(self, model_output: Any, timestep: Any, sample: Tensor) -> Any:
        self.mean = 0.8 * self.mean + 0.2 * float(sample.mean())
        return super().step(model_output, timestep, sample - self.mean)


class MeanInPlace(MeanKeeping):
    """Keeps the running mean in a tensor, which it changes in place."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.mean = torch.zeros(())

    def step(self, model_output: Any, timestep: Any, sample: Tensor) -> Any:
        self.mean.mul_(0.8).add_(0.2 * sample.mean())
        return DDIMScheduler.step(self, model_output, timestep, sample - self.mean)


class Forwarding(DDIMScheduler):
    """Takes whatever its base takes."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs)


class BareTensor(DDIMScheduler):
    """Returns the sample itself, and has other names for its arguments."""

    def step(self, output: Tensor, t: Any, x: Tensor, **kwargs: Any) -> Any:
        return super().step(output, t, x, **kwargs)[0]


class LateScheduler(DDIMScheduler):
    """Changes what its steps do by how many it has taken, in an object of its own."""

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.counter = nn.Module()
        self.counter.steps = 0

    def step(self, model_output: Any, timestep: Any, sample: Tensor) -> Any:
        self.counter.steps += 1
        return super().step(model_output, timestep, sample * 0.9**self.counter.steps)


@pytest.mark.parametrize("kind", [OwnNoise, MeanKeeping, MeanInPlace, LateScheduler])
def test_a_scheduler_that_cannot_be_copied_takes_its_own_steps(kind: type) -> None:
    expected = run_ordinary_loop(denoise, kind())
    with pytest.warns(WitnessWarning, match="cannot be repeated on a copy"):
        solution = sample(denoise, kind(), NOISE, **OPTIONS)
    assert torch.allclose(solution.value, expected, atol=1e-5)
    assert solution.status is forerun.Status.SEQUENTIAL
    with pytest.raises(WitnessDisagrees, match=kind.__name__):
        sample(denoise, kind(), NOISE, strict=True, **OPTIONS)


@pytest.mark.parametrize("kind", [Forwarding, BareTensor])
def test_a_scheduler_with_other_names_is_solved(kind: type) -> None:
    expected = run_ordinary_loop(denoise, kind(clip_sample=False))
    solution = sample(denoise, kind(clip_sample=False), NOISE, **OPTIONS)
    assert torch.allclose(solution.value, expected, atol=1e-3)
    assert solution.rounds < STEPS
    assert solution.witnessed >= 1


def test_a_denoiser_that_mixes_its_rows_takes_single_steps() -> None:
    def mixing(x: Tensor, t: Tensor) -> Tensor:
        return denoise(x, t) + 0.3 * x.mean(0, keepdim=True)

    expected = run_ordinary_loop(mixing, DDIMScheduler(clip_sample=False))
    with pytest.warns(WitnessWarning, match="alone, gave another output"):
        solution = sample(mixing, DDIMScheduler(clip_sample=False), NOISE, **OPTIONS)
    assert torch.allclose(solution.value, expected, atol=1e-5)
    with pytest.raises(WitnessDisagrees), warnings.catch_warnings():
        sample(mixing, DDIMScheduler(clip_sample=False), NOISE, strict=True, **OPTIONS)


def test_a_witness_that_is_left_out_is_stated() -> None:
    solution = sample(denoise, DDIMScheduler(clip_sample=False), NOISE, witness=False, **OPTIONS)
    assert solution.witnessed == 0
    assert any("witness=False" in note for note in solution.notes)


def test_gradients_by_the_noise_are_those_of_the_loop() -> None:
    gradients = []
    for solved in (False, True):
        noise = NOISE.clone().requires_grad_()
        scheduler = DDIMScheduler(clip_sample=False)
        value = run_ordinary_loop(denoise, scheduler, noise)
        if solved:
            solution = sample(denoise, DDIMScheduler(clip_sample=False), noise, **OPTIONS)
            assert "gradient" in solution.notes[0]
            value = solution.value
        value.square().sum().backward()
        gradients.append(noise.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="requires a gradient"):
        sample(denoise, DDIMScheduler(), NOISE.clone().requires_grad_(), strict=True, **OPTIONS)


def test_a_gradient_by_the_weights_that_is_lost_is_stated() -> None:
    network = make_denoiser().requires_grad_(True)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return network(x) * t.reshape(-1, 1, 1, 1) / 1000

    solution = sample(predict, DDIMScheduler(clip_sample=False), NOISE, **OPTIONS)
    assert any("no gradient" in note for note in solution.notes)
    with torch.no_grad():
        solution = sample(predict, DDIMScheduler(clip_sample=False), NOISE, **OPTIONS)
    assert not any("no gradient" in note for note in solution.notes)
