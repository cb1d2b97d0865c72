"""Interrupts, errors, checkpoints, progress and ranks: as for paths, from the same parts."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from limits.maps import DOUBLE, linear, normal

import forerun
from forerun import Bar, Local, Process, fixed_point, solve
from forerun.engine.progress import Log
from forerun.limits import AndersonMixing, AutoMixing, BatchMap, Halpern, LimitCheckpoint, LimitStatus, Plain

WORKERS = Path(__file__).parent / "workers"


def interrupted_after(count, known, error=KeyboardInterrupt):
    """A map that is interrupted once."""
    calls = []

    def evaluate(x):
        calls.append(1)
        if len(calls) == count:
            raise error
        return known.map.evaluate(x)

    return forerun.Map.from_function(evaluate, batch_dims=known.map.batch_dims)


@pytest.mark.parametrize("method", [Plain(), AndersonMixing(5), AutoMixing(), Halpern()], ids=repr)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["alone", "batch"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(method, batch, tmp_path):
    known = linear(radius=0.9, size=8, batch=batch)
    straight = fixed_point(known.map, known.x0, method=method, tolerance=1e-6)
    partial = fixed_point(interrupted_after(9, known), known.x0, method=method, tolerance=1e-6)
    assert partial.status is LimitStatus.INTERRUPTED
    assert partial.evaluations == 8
    path = tmp_path / "limit.safetensors"
    partial.checkpoint.save(path)
    resumed = fixed_point(known.map, known.x0, method=method, tolerance=1e-6, resume=path)
    assert torch.equal(resumed.value, straight.value)
    assert resumed.evaluations == straight.evaluations + 1  # one to know the map again
    assert list(resumed.residuals) == list(straight.residuals)


def test_a_budget_that_was_too_small_is_added_to():
    known = linear(radius=0.95)
    short = fixed_point(known.map, known.x0, method=Plain(), max_evaluations=20, throw=False)
    assert short.status is LimitStatus.OUT_OF_BUDGET
    long = fixed_point(known.map, known.x0, method=Plain(), resume=short.checkpoint)
    assert torch.equal(long.value, fixed_point(known.map, known.x0, method=Plain()).value)


def test_another_method_goes_on_without_the_memory():
    known = linear(radius=0.95)
    short = fixed_point(known.map, known.x0, method=Plain(), max_evaluations=20, throw=False)
    mixed = fixed_point(known.map, known.x0, method=AndersonMixing(5), resume=short.checkpoint)
    assert mixed.status is LimitStatus.CONVERGED
    assert 20 < mixed.evaluations < 80


def test_an_error_reaches_the_user_with_a_checkpoint():
    known = linear(radius=0.9)
    with pytest.raises(OSError, match="lost") as caught:
        fixed_point(interrupted_after(6, known, OSError("lost")), known.x0)
    assert caught.value.checkpoint.evaluations == 5
    assert "5 evaluations are kept" in caught.value.__notes__[0]
    limit = fixed_point(known.map, known.x0, resume=caught.value.checkpoint)
    assert limit.status is LimitStatus.CONVERGED


def test_checkpoints_of_other_maps_are_refused(tmp_path):
    known, other = linear(radius=0.9), linear(radius=0.5)
    short = fixed_point(known.map, known.x0, max_evaluations=5, throw=False).checkpoint
    with pytest.raises(ValueError, match="belongs to another map"):
        fixed_point(other.map, other.x0, resume=short)
    with pytest.raises(ValueError, match="holds points"):
        fixed_point(torch.cos, torch.ones(3), resume=short)
    with pytest.raises(TypeError, match=r"resume=limit\.checkpoint"):
        fixed_point(known.map, known.x0, resume=5)
    path = tmp_path / "a"
    short.save(path)
    process = Process.from_step(lambda i, x: x, 3)
    with pytest.raises(ValueError, match="checkpoint of a limit"):
        solve(process, known.x0, resume=path)
    solve(process, known.x0).checkpoint.save(path)
    with pytest.raises(ValueError, match="checkpoint of a solve"):
        LimitCheckpoint.load(path)


def test_progress_is_shown(capsys, caplog):
    fixed_point(torch.cos, torch.ones(2), progress=Bar())
    assert "residual" in capsys.readouterr().err
    with caplog.at_level(logging.INFO, logger="forerun"):
        fixed_point(torch.cos, torch.ones(2), progress=Log())
    assert caplog.messages[0].startswith("evaluation 1: residual")


class Slices(BatchMap):
    """A batch that remembers how many problems it was asked for at once."""

    def __init__(self, rates, sizes):
        self.rates, self.sizes = rates, sizes

    def evaluate(self, x):
        self.sizes.append(len(x))
        return self.rates[:, None] * x + 1.0

    def select(self, problems):
        return Slices(self.rates[problems], self.sizes)


def test_a_batch_is_evaluated_in_slices():
    sizes = []
    rates = torch.linspace(0.1, 0.6, 5, dtype=DOUBLE)
    limit = fixed_point(Slices(rates, sizes), normal(5, 2), backend=Local(max_batch=2), method=Plain())
    assert max(sizes) == 2
    assert torch.allclose(limit.value[:, 0], 1 / (1 - rates), atol=1e-4)


@pytest.mark.torchrun
def test_a_batch_is_split_over_ranks(tmp_path):
    source = Path(forerun.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(WORKERS / "batch.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for found in (first, second):
        assert found["same"]
        assert found["evaluations"][0] == found["evaluations"][1]
        assert found["calls"][1] < 0.7 * found["calls"][0]
