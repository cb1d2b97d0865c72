"""`sample` in situations that people report: the loop's own sample, or a word."""

import copy

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler

from forerun.diffusion import sample
from forerun.engine.witness import WitnessDisagrees, WitnessWarning

NOISE = torch.randn(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
MIXING = torch.randn(12, 12, generator=torch.Generator().manual_seed(1)) / 12**0.5
OPTIONS = {"window": 8, "tolerance": 1e-5}


def denoise(x, t):
    time = t.to(x).reshape(-1, 1, 1, 1)
    return 0.8 * torch.tanh(x.flatten(1) @ MIXING.to(x)).reshape(x.shape) + 0.3 * x + 0.1 * torch.sin(time / 100)


def plain_loop(denoiser, scheduler, noise=NOISE, *, steps=20, generator=None):
    scheduler = copy.deepcopy(scheduler)
    if steps is not None:
        scheduler.set_timesteps(steps)
    x = noise * scheduler.init_noise_sigma
    keywords = {} if generator is None else {"generator": generator}
    for t in scheduler.timesteps:
        predicted = denoiser(scheduler.scale_model_input(x, t), t.expand(len(x)))
        x = scheduler.step(predicted, t, x, **keywords).prev_sample
    return x


def mix_samples(x):
    return x - 0.3 * x.mean(0, keepdim=True)


def mix_places(x):
    return x - 0.3 * x.mean((2, 3), keepdim=True)


def mix_channels(x):
    return x - 0.3 * x.roll(1, 1)


def blur(x):
    return 0.5 * (x + x.roll(1, 3))


@pytest.mark.parametrize("mix", [mix_samples, mix_places, mix_channels, blur])
@pytest.mark.parametrize("base", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler])
def test_a_step_that_mixes_elements_is_taken_as_it_is(base, mix):
    class Mixes(base):
        def step(self, model_output, timestep, sample, **keywords):
            result = super().step(model_output, timestep, sample, **keywords)
            result.prev_sample = mix(result.prev_sample)
            return result

    answer = sample(denoise, Mixes(), NOISE, steps=20, **OPTIONS)
    torch.testing.assert_close(answer.value, plain_loop(denoise, Mixes()), rtol=1e-5, atol=2e-4)


def test_a_denoiser_that_works_in_place_draws_by_the_ordinary_loop():
    def scale_in_place(x, t):
        return denoise(x.mul_(0.9), t)

    with pytest.warns(WitnessWarning, match="changes its samples in place"):
        answer = sample(scale_in_place, DDIMScheduler(), NOISE.clone(), steps=20, **OPTIONS)
    assert torch.equal(answer.value, plain_loop(scale_in_place, DDIMScheduler(), NOISE.clone()))


CONDITION = torch.randn(3, 3, 2, 2, generator=torch.Generator().manual_seed(2))


def add_condition(x, t):
    return denoise(x + 0.3 * CONDITION, t)


def add_condition_by_index(x, t):
    return denoise(torch.stack([sample + 0.3 * CONDITION[index] for index, sample in enumerate(x)]), t)


@pytest.mark.parametrize("denoiser", [add_condition, add_condition_by_index])
def test_a_denoiser_for_one_batch_alone_draws_by_the_ordinary_loop(denoiser):
    with pytest.warns(WitnessWarning, match=r"cannot take \d+ samples, those of \d+ steps, together \("):
        answer = sample(denoiser, DDIMScheduler(), NOISE, steps=20, **OPTIONS)
    assert torch.equal(answer.value, plain_loop(denoiser, DDIMScheduler()))
    with pytest.raises(WitnessDisagrees, match="together"):
        sample(denoiser, DDIMScheduler(), NOISE, steps=20, strict=True, **OPTIONS)


def test_a_random_denoiser_draws_as_its_loop_does():
    def drop(x, t):
        return torch.nn.functional.dropout(denoise(x, t), 0.2)

    torch.manual_seed(3)
    truth = plain_loop(drop, DDIMScheduler())
    torch.manual_seed(3)
    with pytest.warns(WitnessWarning, match="gave another output"):
        answer = sample(drop, DDIMScheduler(), NOISE, steps=20, **OPTIONS)
    assert torch.equal(answer.value, truth)


@pytest.mark.parametrize("scheduler", [DDIMScheduler(), DPMSolverMultistepScheduler(), PNDMScheduler()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_as_in_the_loop(scheduler, dtype):
    answer = sample(denoise, scheduler, NOISE.to(dtype), steps=20, **OPTIONS)
    truth = plain_loop(denoise, scheduler, NOISE.to(dtype))
    assert answer.value.dtype == dtype
    roundings = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(answer.value, truth, rtol=roundings, atol=roundings)


def test_timesteps_of_ones_own_need_no_number():
    scheduler = DDPMScheduler()
    scheduler.set_timesteps(timesteps=[999, 700, 400, 399, 100, 50, 1])
    answer = sample(denoise, scheduler, NOISE, generator=torch.Generator().manual_seed(1), window=4, tolerance=1e-5)
    truth = plain_loop(denoise, scheduler, steps=None, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(answer.value, truth, rtol=0, atol=1e-3)


def test_a_method_that_was_set_on_the_object_and_a_learned_variance_are_refused():
    scheduler = DDIMScheduler()
    own_step = scheduler.step
    scheduler.step = lambda *arguments, **keywords: own_step(*arguments, **keywords)
    with pytest.raises(ValueError, match=r"step was set on this DDIMScheduler itself.* class Mine\(DDIMScheduler\)"):
        sample(denoise, scheduler, NOISE, steps=20)
    with pytest.raises(ValueError, match=r"variance_type='learned_range' asks for a variance .*fixed_small"):
        sample(denoise, DDPMScheduler(variance_type="learned_range"), NOISE, steps=20)
