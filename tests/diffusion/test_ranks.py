"""One image over several ranks: all end with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import forerun

WORKER = Path(__file__).parent / "workers" / "pipelines.py"
NAMES = ("sd", "flux-true-cfg", "cogvideox-dpm")
IN_ORDER = "cogvideox-dpm"


@pytest.fixture(scope="module", params=(2,), ids=lambda world: f"{world} ranks")
def ranks(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(request.param)]
    path = os.pathsep.join([str(Path(forerun.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(WORKER), str(folder), *NAMES], env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(request.param)]


@pytest.mark.torchrun
@pytest.mark.parametrize("name", NAMES)
def test_all_ranks_end_with_the_same_bits(ranks, name):
    assert len({rank[name]["bits"] for rank in ranks}) == 1
    assert all(rank[name]["distance"] < 2e-4 for rank in ranks)


@pytest.mark.torchrun
@pytest.mark.parametrize("name", NAMES)
def test_all_ranks_run_ahead_or_none(ranks, name):
    assert len({rank[name]["rounds"] for rank in ranks}) == 1
    for rank in ranks:
        assert bool(rank[name]["notes"]) == (name == IN_ORDER)
