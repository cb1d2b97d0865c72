"""A window split over ranks: each the gradients of its steps, gathered once a round, and the bits of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import forerun

WORKER = Path(__file__).parent / "workers" / "training.py"
WORLD = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    source = Path(forerun.__file__).parent.parent
    path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORLD)]
    done = subprocess.run(
        [*command, str(WORKER), str(folder)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.mark.torchrun
def test_ranks_together_have_the_bits_of_one_process(ranks):
    local = ranks[0]["local"]["one by one"]
    for found in ranks:
        assert found["one by one"]["bits"] == local["bits"]
        assert found["one by one"]["rounds"] == local["rounds"] < 30


@pytest.mark.torchrun
def test_each_rank_evaluates_its_share(ranks):
    total = ranks[0]["local"]["one by one"]["asked"]
    shares = [found["one by one"]["asked"] for found in ranks]
    assert total == ranks[0]["one by one"]["evaluations"]
    assert sum(shares) <= total + ranks[0]["one by one"]["rounds"]  # a rank without a step looks at the first
    assert max(shares) < 0.7 * total


@pytest.mark.torchrun
def test_mapped_gradients_are_the_same_on_all_ranks(ranks):
    assert len({found["vmapped"]["bits"] for found in ranks}) == 1
    assert ranks[0]["vmapped"]["communicate"] > 0


@pytest.mark.torchrun
def test_only_the_first_rank_writes(ranks):
    assert [found["wrote"] for found in ranks] == [True, False]
