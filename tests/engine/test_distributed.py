"""Distributed: launched by torchrun as a user would, several scenarios a launch, as importing torch takes seconds."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import forerun
from forerun.engine.backends import Distributed
from forerun.engine.backends.agreement import describe_disagreement, describe_failures, project_output
from forerun.engine.backends.distributed import share_steps
from forerun.engine.backends.message import (
    HEADER_BYTES,
    MAX_ERROR_BYTES,
    MAX_ROW_AXES,
    MessageHeader,
    align_size,
    rows_from_bytes,
    rows_to_bytes,
)
from forerun.engine.backends.round_identity import RoundIdentity, compute_checksum

WORKERS = Path(__file__).parent / "workers"
WORLDS = (2, 3)
LAUNCH_SECONDS = 90


def launch(worker, world, folder, *arguments):
    """Run a worker on `world` ranks; its exit status, and what each rank that came to its end found."""
    source = Path(forerun.__file__).parent.parent
    path = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    patient = ["--monitor-interval", "2"]  # or torchrun ends the ranks that are left before they have told
    done = subprocess.run(
        [*command, *patient, str(WORKERS / worker), str(folder), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LAUNCH_SECONDS,
    )
    found = {int(file.stem): json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))}
    return done, found


@pytest.fixture(scope="module", params=WORLDS, ids=lambda world: f"{world} ranks")
def rounds(request, tmp_path_factory):
    done, found = launch("rounds.py", request.param, tmp_path_factory.mktemp("rounds"))
    assert done.returncode == 0, done.stderr
    assert "Warning: " not in done.stderr
    return [found[rank] for rank in range(request.param)]


@pytest.fixture(scope="module", params=WORLDS, ids=lambda world: f"{world} ranks")
def paths(request, tmp_path_factory):
    done, found = launch("paths.py", request.param, tmp_path_factory.mktemp("paths"))
    assert done.returncode == 0, done.stderr
    return [found[rank] for rank in range(request.param)]


@pytest.mark.torchrun
@pytest.mark.parametrize("count", ["7", "2", "1", "6"])
def test_a_window_of_any_width_has_the_bits_of_the_local_round_on_all_ranks(rounds, count):
    results = [found["widths"][count] for found in rounds]
    assert {found["outputs"] for found in results} == {results[0]["local"]}


@pytest.mark.torchrun
@pytest.mark.parametrize("count", [7, 2, 1, 6])
def test_steps_are_split_evenly_and_a_rank_without_one_looks_at_the_first(rounds, count):
    asked = [found["widths"][str(count)]["asked"] for found in rounds]
    parts = [list(range(count))[share_steps(count, rank, len(rounds))] for rank in range(len(rounds))]
    assert asked == [[part or [0]] for part in parts]


@pytest.mark.torchrun
def test_a_round_is_one_gather(rounds):
    for found in rounds:
        assert found["steady"] == [1] * 20
        assert found["widths"]["7"]["gathers"] == 1  # its second round: as wide as the first, with narrow ones between


@pytest.mark.torchrun
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are told apart by Linux's /proc")
def test_no_thread_of_a_group_outlives_it(rounds):
    """One that does may abort the process as Python ends."""
    for found in rounds:
        assert not [name for name in found["threads"] if "gloo" in name]


@pytest.mark.torchrun
def test_every_dtype_and_every_bit_arrives(rounds):
    for name, first in rounds[0]["dtypes"].items():
        assert first["outputs"].startswith(name if name.startswith("torch") else "torch.float64")
        assert {found["dtypes"][name]["outputs"] for found in rounds} == {first["local"]}, name


@pytest.mark.torchrun
def test_slices_and_padding_work_on_every_rank(rounds):
    assert all(found["matmul"]["close"] for found in rounds)
    assert len({found["matmul"]["outputs"] for found in rounds}) == 1
    assert {size for found in rounds for size in found["matmul"]["sizes"]} == {2}


@pytest.mark.torchrun
def test_all_ranks_agree_about_the_time(rounds):
    timings = [found["timings"] for found in rounds]
    assert all(each == timings[0] for each in timings)
    last = len(rounds) - 1
    for evaluate, communicate, overhead in timings[0]:
        assert evaluate >= 0.02 + 0.05 * last
        assert overhead == 0.1 * last
        assert communicate < evaluate  # that of the rank that waited least
    assert timings[0][0][1] == 0.0 < timings[0][1][1]


@pytest.mark.torchrun
def test_an_error_on_one_rank_is_an_error_on_all(rounds):
    for rank, found in enumerate(rounds):
        first, later, everywhere = found["failing"]["errors"]
        for kind, words, cause in (first, later):
            assert kind == "RankFailed"
            assert "on rank 1:\n  rank 1: MemoryError: Größe: xxx" in words
            assert "Distributed(max_batch=...)" in words
            assert cause == ("MemoryError" if rank == 1 else "NoneType")
        assert "return one row a step" in everywhere[1]


@pytest.mark.torchrun
def test_the_group_is_still_good_after_an_error(rounds):
    for found in rounds:
        for between in (found["failing"]["between"], found["failing"]["after"]):
            assert between["outputs"] == between["local"]
        for *_, after in found["disagreeing"].values():
            assert after["outputs"] == after["local"]


@pytest.mark.torchrun
@pytest.mark.parametrize(
    "case, words",
    [
        ("inputs", "torch.manual_seed(0)"),
        ("permuted", "torch.manual_seed(0)"),
        ("steps", "7 steps from 1 to 7"),
        ("width", "8 steps from 0 to 7"),
        ("large", "800 steps from 0 to 799"),
        ("outputs", "torch.float32 [2, 3] a step"),
    ],
)
def test_ranks_that_do_not_do_the_same_are_named(rounds, case, words):
    for found in rounds:
        kind, said, *_ = found["disagreeing"][case]
        assert kind == "RanksDisagree"
        assert f"rank {len(rounds) - 1}" in said
        assert words in said


@pytest.mark.torchrun
def test_a_group_of_some_ranks_is_enough(rounds):
    first, second, *others = [found["grouped"] for found in rounds]
    assert first["outputs"] == second["outputs"] == first["local"]
    for kind, said, _ in others:
        assert kind == "ValueError"
        assert "members of the group" in said


@pytest.mark.torchrun
@pytest.mark.parametrize("name", ["sliding", "full", "sparse", "jacobi", "sequential", "auto", "matmul"])
def test_a_run_is_the_same_on_all_ranks(paths, name):
    runs = [found[name]["spread"] for found in paths]
    assert all(each == runs[0] for each in runs)  # windows, times, deviation: everything, to the last bit
    assert all(found[name]["distance"] < 1e-6 for found in paths)


@pytest.mark.torchrun
@pytest.mark.parametrize("name", ["sliding", "full", "sparse", "jacobi", "sequential"])
def test_a_run_is_that_of_one_device(paths, name):
    for found in paths:
        spread, local = found[name]["spread"], found[name]["local"]
        assert {key: spread[key] for key in spread if key not in {"timings", "gathers"}} == {
            key: local[key] for key in local if key not in {"timings", "gathers"}
        }
        grown = len({stop - start for start, stop, _ in spread["windows"]})
        check_calls = 9  # at most: eight single steps, and the samples at the end
        assert spread["rounds"] < spread["gathers"] <= spread["rounds"] + min(grown, 2) + check_calls


@pytest.mark.torchrun
def test_an_error_inside_a_run_reaches_all_ranks(paths):
    for found in paths:
        kind, said, _ = found["failing"]
        assert kind == "RankFailed"
        assert "rank 1: RuntimeError: CUDA out of memory" in said
        kind, said, _ = found["seeded"]
        assert kind == "RanksDisagree"
        assert "differ from those of rank 0" in said


@pytest.mark.torchrun
@pytest.mark.parametrize(
    "fate, timeout, world", [("dies", 10, 3), ("hangs", 2, 2), ("is interrupted", 10, 2), ("leaves", 10, 2)], ids=str
)
def test_a_lost_rank_is_an_error_within_the_timeout(fate, timeout, world, tmp_path):
    done, found = launch("lost.py", world, tmp_path, fate, timeout)
    assert done.returncode != 0
    assert sorted(found) == list(range(world - 1))
    assert ("KeyboardInterrupt" in done.stderr) == (fate == "is interrupted")
    for told in found.values():
        kind, said, cause = told["error"]
        assert kind == "RankLost", said
        assert "round 5 with 7 steps from 20 to 26: a rank did not answer" in said
        assert cause == "RuntimeError"
        assert told["seconds"] < timeout + 5


def test_alone_there_is_nothing_to_exchange(monkeypatch):
    steps, inputs = torch.arange(5), torch.randn(5, 3)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        monkeypatch.setattr(dist, "all_gather", None)
        outputs, read = Distributed().evaluate(lambda steps, rows: 2 * rows, steps, inputs, 0.5)
    finally:
        dist.destroy_process_group()
    assert torch.equal(outputs, 2 * inputs)
    assert read().overhead == 0.5


def test_without_a_launcher_the_error_says_what_to_type(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match=r"RANK.*torchrun --nproc-per-node 4 script\.py.*Local\(\)"):
        Distributed().evaluate(lambda steps, rows: rows, torch.arange(1), torch.zeros(1, 1), 0.0)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="timeout=60"):
        Distributed(timeout=0)
    with pytest.raises(ValueError, match="max_batch"):
        Distributed(max_batch=0)
    assert Distributed(pad=(4,)) == Distributed(pad=(4,))
    assert "_history" not in repr(Distributed())


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 100])
def test_shares_cover_all_steps_and_differ_by_one_at_most(count, world):
    parts = [range(count)[share_steps(count, rank, world)] for rank in range(world)]
    assert [step for part in parts for step in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def header(**changes):
    identity = RoundIdentity.from_round(3, torch.tensor([4, 5, 9]), torch.ones(3, 2))
    return replace(MessageHeader(identity, 0.1, 0.2, 0.3, 3, (2, 5), torch.bfloat16), **changes)


@pytest.mark.parametrize(
    "sent",
    [
        header(),
        header(shape=()),
        header(shape=(1,) * MAX_ROW_AXES),
        header(shape=None, dtype=None, rows=0, error="Größe"),
    ],
    ids=["rows", "scalars", "many axes", "error"],
)
def test_a_header_arrives_as_it_was_sent(sent):
    packed = sent.pack()
    assert len(packed) == HEADER_BYTES
    assert MessageHeader.unpack(packed) == sent


def test_a_long_error_is_cut_between_letters():
    packed = header(shape=None, dtype=None, rows=0, error="x" + "ö" * 1000).pack()
    assert MessageHeader.unpack(packed).error == "x" + "ö" * ((MAX_ERROR_BYTES - 1) // 2)


def test_another_version_is_noticed():
    with pytest.raises(ValueError, match="forerun2"):
        MessageHeader.unpack(b"forerun9" + header().pack()[8:])


def test_rows_survive_as_bytes():
    rows = torch.randn(3, 2, 5).bfloat16()
    data = torch.cat([rows_to_bytes(rows), torch.zeros(7, dtype=torch.uint8)])
    assert torch.equal(rows_from_bytes(header(), data), rows)
    assert align_size(0) == 0
    assert align_size(1) == align_size(16) == 16


def test_the_checksum_sees_every_bit_and_the_order():
    rows = torch.randn(5, 40, dtype=torch.float64)
    nudged = rows.clone()
    nudged[4, 39] = torch.nextafter(nudged[4, 39], torch.tensor(torch.inf, dtype=torch.float64))
    others = [nudged, rows.flip(0), rows.reshape(40, 5), rows.float(), -rows]
    assert len({compute_checksum(each) for each in (rows, *others)}) == 6
    assert compute_checksum(rows.T.contiguous().T) == compute_checksum(rows)
    for dtype in (torch.bool, torch.int8, torch.bfloat16, torch.complex64, torch.complex128):
        assert compute_checksum(rows.to(dtype)) == compute_checksum(rows.clone().to(dtype))
    assert isinstance(compute_checksum(torch.zeros(0, 3)), int)


def test_the_many_are_right():
    odd = header(identity=replace_identity(inputs=1))
    assert describe_disagreement([header(), header()]) == ""
    assert "inputs of rank 0 differ from those of rank 1" in describe_disagreement([odd, header(), header()])
    assert "inputs of ranks 1, 3 differ from those of rank 0" in describe_disagreement(
        [header(), odd, header(), odd, header()]
    )
    elsewhere = header(identity=replace_identity(round=9))
    assert "rank 2 came to round 9" in describe_disagreement([header(), header(), elsewhere])


def replace_identity(**changes):
    return header().identity._replace(**changes)


def test_failures_are_told_together():
    broken = header(shape=None, dtype=None, rows=0, error="ValueError: no")
    assert describe_failures([header()]) == ""
    said = describe_failures([header(), broken, broken])
    assert "on ranks 1, 2:\n  rank 1: ValueError: no\n  rank 2: ValueError: no" in said
    assert "max_batch" not in said


def test_ranks_with_other_weights_are_named_by_what_they_make_of_one_step():
    identity = RoundIdentity.from_round(0, torch.tensor([0]), torch.ones(1, 4))
    row = torch.linspace(-1, 1, 4)

    def speak(output):
        kind = {"rows": 1, "shape": (4,), "dtype": output.dtype}
        return MessageHeader(identity, 0.0, 0.0, 0.0, **kind, sample=project_output(output))

    assert not describe_disagreement([speak(row), speak(row + 1e-4)])
    assert not describe_disagreement([speak(row.fill_(torch.nan)), speak(row)])
    row = torch.linspace(-1, 1, 4)
    words = describe_disagreement([speak(row), speak(row), speak(row * 1.1), speak(row.flip(0))])
    assert words.startswith("ranks 2, 3 made something else than rank 0 of the same input, in round 0 with step 0")
    assert "broadcast(parameter.data, src=0)" in words
    header = speak(row)
    assert MessageHeader.unpack(header.pack()) == header
