"""Denoising: the coefficients are the textbook's, and the closed forms agree with the steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from forerun.diffusion import Denoising, Increments, Schedule, clipped, from_noise, from_velocity
from forerun.engine.process import Process

LENGTH, BATCH, SHAPE = 12, 3, (2, 4)


def toy_denoiser(x: Tensor, t: Tensor) -> Tensor:
    """Smooth, different at every timestep, each sample by itself."""
    scale = 1 + t.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1)) / 1000
    return torch.tanh(x * scale) + 0.1 * x.flatten(1).mean(1).reshape(scale.shape)


def per_step_noise(step: int) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(BATCH, *SHAPE, generator=generator, dtype=torch.float64)


def make(eta: float, length: int = LENGTH) -> Denoising:
    return Denoising(toy_denoiser, Schedule.linear().spaced(length), eta=eta, noise=per_step_noise)


def start() -> Tensor:
    return torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(99), dtype=torch.float64)


def sequential_path(process: Process, x: Tensor) -> list[Tensor]:
    path = [x]
    for step in range(process.length):
        output = process.evaluate(torch.tensor([step]), path[-1][None])[0]
        path.append(process.advance(step, path[-1], output))
    return path


def assert_equal(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("split", [lambda p: p, Increments])
def test_affine_equals_advance(eta: float, split: type) -> None:
    process = split(make(eta))
    states, outputs = torch.randn(2, LENGTH, BATCH, *SHAPE, dtype=torch.float64)
    steps = torch.arange(3, LENGTH)
    closed = process.affine(steps)
    for row, step in enumerate(steps.tolist()):
        expected = process.advance(step, states[step], outputs[step])
        shift = 0 if closed.shift is None else closed.shift[row]
        assert_equal(closed.state[row] * states[step] + closed.output[row] * outputs[step] + shift, expected)


def test_without_noise_there_is_no_shift() -> None:
    assert Denoising(toy_denoiser, Schedule.linear().spaced(5)).affine(torch.arange(5)).shift is None
    assert make(1.0).affine(torch.tensor([LENGTH - 1])).shift is None


@pytest.mark.parametrize("length", [1000, 50])
def test_eta_one_is_ddpm_on_the_visited_timesteps(length: int) -> None:
    """Ho et al. 2020, equations 6 and 7, with `alpha` the ratio of neighbouring `abar`."""
    schedule = Schedule.linear().spaced(length)
    abar = schedule.alphas_cumprod[schedule.timesteps]
    previous = torch.cat([abar[1:], torch.ones(1, dtype=torch.float64)])
    alpha = abar / previous
    found = make(1.0, length).coefficients
    assert_equal(found.state, alpha.sqrt() * (1 - previous) / (1 - abar), 1e-10)
    assert_equal(found.output, previous.sqrt() * (1 - alpha) / (1 - abar), 1e-10)
    assert_equal(found.noise**2, (1 - alpha) * (1 - previous) / (1 - abar), 1e-10)


def test_all_steps_have_the_betas_of_training() -> None:
    schedule = Schedule.linear()
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert torch.equal(schedule.timesteps, schedule.spaced(1000).timesteps)
    abar = schedule.alphas_cumprod
    assert_equal(1 - abar[1:] / abar[:-1], betas[1:])


def test_ddim_is_the_deterministic_formula() -> None:
    schedule = Schedule.linear().spaced(LENGTH)
    process, x = Denoising(toy_denoiser, schedule), start()
    for step, following in zip(range(LENGTH), sequential_path(process, x)[1:], strict=True):
        abar = schedule.alphas_cumprod[schedule.timesteps[step]]
        previous = schedule.alphas_cumprod[schedule.timesteps[step + 1]] if step + 1 < LENGTH else torch.tensor(1.0)
        denoised = toy_denoiser(x, schedule.timesteps[step].expand(BATCH))
        noise = (x - abar.sqrt() * denoised) / (1 - abar).sqrt()
        x = previous.sqrt() * denoised + (1 - previous).sqrt() * noise
        assert_equal(following, x)


@pytest.mark.parametrize("split", [lambda p: p, Increments])
def test_a_window_equals_its_steps(split: type) -> None:
    process = split(make(1.0))
    steps = torch.tensor([1, 2, 5, 9])  # not contiguous: converged steps in between may be left out
    inputs = torch.randn(4, BATCH, *SHAPE, dtype=torch.float64)
    together = process.evaluate(steps, inputs)
    assert together.shape == inputs.shape
    for row in range(4):
        assert_equal(together[row], process.evaluate(steps[row : row + 1], inputs[row : row + 1])[0])


def test_noise_belongs_to_the_step() -> None:
    process, x = make(1.0), start()
    first, again = process.advance(3, x, x), process.advance(3, x, x)
    assert torch.equal(first, again)
    coefficients = process.coefficients
    expected = (coefficients.state[3] + coefficients.output[3]) * x + coefficients.noise[3] * per_step_noise(3)
    assert_equal(first, expected)


def test_noise_is_not_asked_for_where_there_is_none() -> None:
    drawn = torch.randn(LENGTH - 1, BATCH, *SHAPE, dtype=torch.float64)  # one short: the last step needs none
    process = Denoising(toy_denoiser, Schedule.linear().spaced(LENGTH), eta=1.0, noise=drawn.__getitem__)
    sequential_path(process, start())
    shift = process.affine(torch.arange(LENGTH)).shift
    assert shift is not None
    assert not shift[-1].any()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_increments_walk_the_same_path(eta: float) -> None:
    process = make(eta, 50)
    expected = sequential_path(process, start())
    for state, other in zip(expected, sequential_path(Increments(process), start()), strict=True):
        assert_equal(other, state, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_keeps_its_dtype(dtype: torch.dtype) -> None:
    noise = torch.randn(LENGTH, BATCH, *SHAPE, dtype=dtype)
    process = Denoising(toy_denoiser, Schedule.linear().spaced(LENGTH), eta=1.0, noise=noise.__getitem__)
    for split in (process, Increments(process)):
        assert sequential_path(split, start().to(dtype))[-1].dtype == dtype


def test_levels_are_the_posterior_deviations_whatever_eta() -> None:
    levels = make(0.0).levels
    assert torch.equal(levels[:-1], make(1.0).coefficients.noise[:-1])
    assert levels[-1] == levels[-2]
    assert bool((levels > 0).all())
    assert torch.equal(Increments(make(0.5)).levels, levels)
    assert make(1.0, 1).levels.tolist() == [1.0]


def test_noise_and_velocity_predictions_give_the_denoised_sample() -> None:
    schedule, x, t = Schedule.linear(), start(), torch.tensor([10, 500, 999])
    clean, noise = torch.randn(2, BATCH, *SHAPE, dtype=torch.float64)
    signal, rate = schedule.rates(t, x)
    noisy = signal * clean + rate * noise
    assert_equal(from_noise(lambda x, t: noise, schedule)(noisy, t), clean, 1e-10)
    assert_equal(from_velocity(lambda x, t: signal * noise - rate * clean, schedule)(noisy, t), clean, 1e-10)


def test_clipping_is_part_of_evaluate() -> None:
    process = Denoising(clipped(lambda x, t: 5 * x), Schedule.linear().spaced(3))
    output = process.evaluate(torch.arange(3), torch.randn(3, BATCH, *SHAPE))
    assert output.abs().max() == 1


def test_a_spaced_schedule_runs_from_the_noisiest_to_zero() -> None:
    timesteps = Schedule.linear().spaced(7).timesteps
    assert len(timesteps) == 7
    assert timesteps[[0, -1]].tolist() == [999, 0]
    assert Schedule.linear().spaced(1).timesteps.tolist() == [999]


def test_mistakes_are_told_with_the_line_to_type() -> None:
    schedule = Schedule.linear()
    with pytest.raises(ValueError, match=r"noise=z\.__getitem__"):
        Denoising(toy_denoiser, schedule, eta=1.0)
    with pytest.raises(ValueError, match="use 0 for DDIM"):
        Denoising(toy_denoiser, schedule, eta=2.0)
    with pytest.raises(ValueError, match="choose a length"):
        schedule.spaced(1001)
    with pytest.raises(ValueError, match="noisiest first"):
        Schedule(schedule.alphas_cumprod, torch.arange(10))
    with pytest.raises(ValueError, match="int64"):
        Schedule(schedule.alphas_cumprod, torch.linspace(999, 0, 10))
    with pytest.raises(ValueError, match=r"betas\.double"):
        Schedule(schedule.alphas_cumprod.float(), schedule.timesteps)
