"""The one training loop: it goes on where it was stopped, with the seeds of steps or with a generator of its own."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from forerun.worlds.digits import load_digits
from forerun.worlds.digits.train_denoiser import denoiser_stage, train_denoiser
from forerun.worlds.training import TrainingStage, plain_cosine, read_records, train_network, warm_cosine

STAGE = TrainingStage(name="line", steps=20, rate=1e-2, horizon=5, save_every=4, report_every=10)


def line():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def train_line(work, stage=STAGE, *, stop_at=None, own_generator=False):
    """Fit a line to random points; `stop_at` is the step that is interrupted."""
    generator = torch.Generator().manual_seed(7) if own_generator else None

    def loss(network, step):
        if step == stop_at:
            raise KeyboardInterrupt
        points = torch.randn(8, 3, generator=generator)
        return (network(points) - points.sum(-1, keepdim=True)).square().mean()

    return train_network(line(), loss, stage, work, seed=3, generator=generator)


@pytest.mark.parametrize("horizon", [5, None])
@pytest.mark.parametrize("own_generator", [False, True])
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(tmp_path, own_generator, horizon):
    stage = replace(STAGE, horizon=horizon)
    uninterrupted = train_line(None, stage, own_generator=own_generator)
    with pytest.raises(KeyboardInterrupt):
        train_line(tmp_path, stage, stop_at=10, own_generator=own_generator)
    assert read_records(tmp_path)["line"]["step"] == 8
    resumed = train_line(tmp_path, stage, own_generator=own_generator)
    assert torch.equal(resumed.network.weight, uninterrupted.network.weight)
    assert resumed.record.loss == uninterrupted.record.loss
    assert read_records(tmp_path)["line"]["step"] == 20


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train_line(None).record.step == 20
    assert not list(tmp_path.iterdir())


def test_progress_is_printed(capsys):
    train_line(None, replace(STAGE, loss_name="error"))
    assert capsys.readouterr().out.count("line 10/20  error") == 1


def test_schedules_begin_and_end_where_they_should():
    assert warm_cosine(0, 1000) == pytest.approx(0.01)
    assert warm_cosine(999, 1000) == pytest.approx(0.02, abs=1e-4)
    assert plain_cosine(0, 1000) == 1
    assert plain_cosine(1000, 1000) == pytest.approx(0)


def test_the_digits_go_on_too(tmp_path):
    pytest.importorskip("sklearn")
    digits = load_digits()[:64]
    uninterrupted = train_denoiser(digits, steps=4, seed=1)
    train_denoiser(digits, steps=4, seed=1, work=tmp_path)
    again = train_denoiser(digits, steps=4, seed=1, work=tmp_path)
    assert again.record.step == 4
    assert read_records(tmp_path)[denoiser_stage(4).name]["loss"] == uninterrupted.record.loss
    for one, other in zip(uninterrupted.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)
