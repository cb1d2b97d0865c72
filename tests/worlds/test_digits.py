"""The shipped digits: the exact denoiser is Bayes' rule, the trained one draws digits, the command trains."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from forerun.diffusion import Denoising, Schedule
from forerun.diffusion.denoising import Denoiser
from forerun.worlds.digits import DigitsDenoiser, ExactDenoiser, load_digits, load_digits_denoiser
from forerun.worlds.digits.train_denoiser import main


def draw_samples(denoiser: Denoiser, count: int, length: int) -> Tensor:
    """DDIM in order, from a fixed start; `(count, 64)`."""
    process = Denoising(denoiser, Schedule.linear().spaced(length))
    x = torch.randn(count, 64, generator=torch.Generator().manual_seed(0))
    for step in range(length):
        x = process.advance(step, x, process.evaluate(torch.tensor([step]), x[None])[0])
    return x


def nearest_distance(samples: Tensor) -> Tensor:
    """Distance of each sample to the nearest real digit, `(N,)`."""
    return torch.cdist(samples, load_digits()).min(1).values


def test_the_digits_are_scaled() -> None:
    digits = load_digits()
    assert digits.shape == (1797, 64)
    assert digits.dtype == torch.float32
    assert digits.aminmax() == (-1, 1)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'forerun\[digits\]'"):
        load_digits()


@pytest.mark.parametrize("chunk", [4096, 2])
def test_exact_denoiser_is_bayes_rule(chunk: int) -> None:
    """One sample and one datum at a time, with the densities as they are written in books."""
    data = load_digits()[:30].double()
    x, t = data[:5] + 0.3 * torch.randn(5, 64, dtype=torch.float64), torch.tensor([20, 200, 500, 900, 999])
    denoised = ExactDenoiser(data, chunk=chunk)(x, t)
    for row in range(5):
        abar = Schedule.linear().alphas_cumprod[t[row]]
        logs = torch.stack([-(x[row] - abar.sqrt() * d).square().sum() / (2 * (1 - abar)) for d in data])
        weights = (logs - logs.max()).exp()
        expected = sum(w * d for w, d in zip(weights, data, strict=True)) / weights.sum()
        torch.testing.assert_close(denoised[row], expected, rtol=1e-10, atol=1e-10)


def test_exact_denoiser_keeps_shape_and_dtype() -> None:
    denoiser = ExactDenoiser(load_digits()[:10].reshape(10, 1, 8, 8))
    for dtype in (torch.float32, torch.float64):
        denoised = denoiser(torch.randn(3, 1, 8, 8, dtype=dtype), torch.tensor([0, 10, 999]))
        assert denoised.shape == (3, 1, 8, 8)
        assert denoised.dtype == dtype


def test_exact_denoiser_draws_the_data_itself() -> None:
    assert nearest_distance(draw_samples(ExactDenoiser(load_digits()), 8, 50)).max() < 0.05


def test_the_denoised_sample_follows_from_the_velocity() -> None:
    network, x, t = DigitsDenoiser(width=16, blocks=1), torch.randn(3, 64), torch.tensor([0, 10, 999])
    signal, noise = network.schedule.rates(t, x)
    assert torch.equal(network(x, t), signal * x - noise * network.predict_velocity(x, t))


def test_the_shipped_network_works_in_double_precision() -> None:
    network = load_digits_denoiser()
    x, t = torch.randn(3, 64, dtype=torch.float64), torch.tensor([5, 500, 999])
    exact = network.double()(x, t)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(load_digits_denoiser()(x.float(), t), exact.float(), rtol=1e-4, atol=1e-4)


def test_the_shipped_network_draws_digits() -> None:
    """Real digits lie 2.05 from the nearest other on average; noise of the same mean and variance lies 4.34 away."""
    samples = draw_samples(load_digits_denoiser(), 64, 50)
    distance = nearest_distance(samples)
    assert 1.5 < distance.mean() < 2.5
    assert distance.min() > 0.5  # not copies
    assert samples.abs().max() < 1.5


def test_the_shipped_network_is_near_the_exact_denoiser_where_noise_is_large() -> None:
    x, t = torch.randn(64, 64), torch.full((64,), 900)
    difference = load_digits_denoiser()(x, t) - ExactDenoiser(load_digits())(x, t)
    assert difference.square().mean().sqrt() < 0.1


def test_the_command_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        main(["--steps", "5", "--seed", "3", "--out", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    facts = json.loads((tmp_path / "digits.json").read_text())
    assert facts["steps"] == 5
    assert facts["seed"] == 3
    stored = load_file(tmp_path / "digits.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    DigitsDenoiser(**facts["config"]).load_state_dict(stored)
    assert "loss" in capsys.readouterr().out


def test_training_repeats_with_its_seed(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for name in ("one", "two"):
            main(["--steps", "3", "--seed", "1", "--out", str(tmp_path / name)])
    finally:
        torch.set_num_threads(threads)
    one, two = (load_file(tmp_path / name / "digits.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)
