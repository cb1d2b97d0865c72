"""The benchmark that waits for a GPU runs on the CPU with tiny networks, and keeps what it has when time is over."""

from __future__ import annotations

import time
from pathlib import Path

import _gpu_networks as networks
import a_gpu_wins_at_the_sizes_in_use as benchmark
import pytest
import torch


@pytest.fixture
def plan() -> benchmark.Plan:
    return benchmark.Plan("cpu", tiny=True, begin=time.perf_counter(), limit=600.0)


@pytest.mark.parametrize("build", networks.BUILDERS)
def test_tiny_networks_are_called_as_large_ones_are(build):
    sized = build("cpu", tiny=True)
    samples = torch.randn(3, *sized.shape, dtype=torch.bfloat16)
    with torch.no_grad():
        outputs = sized.call(sized.network, samples, torch.tensor([10, 500, 900]))
    assert outputs.shape == samples.shape
    assert outputs.dtype == torch.bfloat16
    assert torch.isfinite(outputs).all()


def test_every_window_gives_the_sample_of_the_plain_loop(plan):
    sized = networks.build_flux("cpu", tiny=True)
    denoiser = networks.TemplateDenoiser(sized, sized.network, "cpu")
    costs = {1: 1.0, 2: 1.5}
    rows = list(benchmark.measure_sampling(denoiser, costs, plan))
    assert [row["window"] for row in rows] == ["Auto", "2, dense", "4, every third and sixth"]
    for row in rows:
        assert row["PSNR, dB"] > 50
        assert row["predicted"] > 0
        assert row["measured"] > 0


def test_caching_is_measured_and_put_back(plan, monkeypatch):
    monkeypatch.setattr(benchmark, "CACHE_THRESHOLDS", (0.05,))
    sized = networks.build_flux("cpu", tiny=True)
    rows = list(benchmark.measure_caching(sized, plan))
    assert [set(row) for row in rows] == [{"threshold", "measured", "PSNR, dB"}]
    assert not sized.network.is_cache_enabled


def test_what_there_is_no_time_for_is_left_out_and_named(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(benchmark, "BUILDERS", (networks.build_sd15,))
    monkeypatch.setattr(benchmark, "measure_recurrence", lambda plan: [])
    monkeypatch.setattr(benchmark, "measure_policy", lambda plan: [])
    sections = benchmark.run_plan(benchmark.Plan("cpu", tiny=True, begin=time.perf_counter(), limit=0.0), tmp_path)
    assert sections["(a) SD 1.5 UNet, compiled"] == "Left out: the time was over."
    page = (tmp_path / f"{benchmark.__name__}.md").read_text()
    assert "(a) SD 1.5 UNet, eager" in page
    assert "- device: " in page
    assert "- date: " in page


def test_the_policy_and_the_scan_are_measured(plan):
    assert next(benchmark.measure_policy(plan))["rounds"] >= 1
    assert next(benchmark.measure_recurrence(plan))["ours, ms"] > 0
