"""Checkpoints of another run, damaged ones, and runs that write to one file."""

import json
import threading
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from forerun import Checkpoint, Process, Sequential, Sliding, Status, solve
from forerun.engine.baseline import run_plain_loop
from forerun.engine.check import check_memory
from forerun.engine.validation import ForeignCheckpoint

START = torch.linspace(-1, 1, 6, dtype=torch.float64)
OPTIONS = {"window": Sliding(6), "tolerance": 1e-6}


def flow(rate=0.1, length=40):
    return Process.from_step(lambda i, x: x + rate * torch.cos(x + 0.1 * i), length, increment=True)


class Other(Process):
    """The same steps as a class of its own."""

    length = 40

    def evaluate(self, steps, inputs):
        return 0.1 * torch.cos(inputs + 0.1 * steps.to(inputs).unsqueeze(-1))

    def advance(self, step, state, output):
        return state + output


class Training(Process):
    """Steps with a rate and a momentum, which evaluate does not see."""

    length = 40

    def __init__(self, rate=0.1, data=None):
        self.rate, self.data = rate, torch.zeros(40, dtype=torch.float64) if data is None else data

    def observe(self, state):
        return state["x"]

    def evaluate(self, steps, inputs):
        return torch.cos(inputs) + self.data[steps].unsqueeze(-1)

    def advance(self, step, state, output):
        momentum = 0.9 * state["momentum"] + output
        return {"x": state["x"] + self.rate * momentum, "momentum": momentum, "count": state["count"] + 1}


def begin_training(x=START, momentum=0.0, count=0):
    return {"x": x, "momentum": torch.full_like(x, momentum), "count": count}


OTHER_DATA = torch.zeros(40, dtype=torch.float64)
OTHER_DATA[0] = 0.3


def stop_early(process, state, **options):
    return solve(process, state, callback=lambda event: event.step > 12, **(OPTIONS | options)).checkpoint


PART = stop_early(flow(), START)


def in_memory(checkpoint, folder):
    return checkpoint


def through_a_file(checkpoint, folder):
    checkpoint.save(folder / "run.safetensors")
    return folder / "run.safetensors"


@pytest.mark.parametrize("carry", [in_memory, through_a_file])
@pytest.mark.parametrize(
    "checkpoint, says",
    [
        (stop_early(flow(), START + 0.1), "another state than the one that is passed.*fingerprint=None"),
        (stop_early(flow(0.102), START), "something else for step .* its weights, its data or its noise are others"),
        (stop_early(Other(), START), "of a process Other, and this one is a StepProcess"),
        (stop_early(flow(), START[:3]), r"float64 \[3\], which does not fit .* float64 \[6\]"),
        (stop_early(flow(), START.float()), r"float32 \[6\], which does not fit"),
        (stop_early(flow(length=39), START), "39 steps, this one has 40"),
        (replace(PART, step=41), "step 41 of 40, which is not a step"),
        (replace(PART, step=-1), "step -1 of 40, which is not a step"),
        (replace(PART, guessed_inputs=torch.zeros(4, 5)), "guessed_inputs=None"),
        (replace(PART, state={"x": START}), "does not fit"),
        (replace(PART, shadow=START[:2]), "does not fit"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(checkpoint, says, carry, tmp_path):
    with pytest.raises(ValueError, match=says):
        solve(flow(), START, resume=carry(checkpoint, tmp_path), **OPTIONS)


@pytest.mark.parametrize("carry", [in_memory, through_a_file])
@pytest.mark.parametrize(
    "process, state, says",
    [
        (Training(0.2), begin_training(), "advance moves the state elsewhere .* rates or schedules"),
        (Training(0.1, OTHER_DATA), begin_training(), "something else for step 0 than it gave then"),
        (Training(), begin_training(momentum=0.5), "another state than the one that is passed"),
        (Training(), begin_training(count=3), "another state than the one that is passed"),
    ],
    ids=["rate", "data of the first step", "momentum", "counter"],
)
def test_what_evaluate_does_not_see_is_told_apart_too(process, state, says, carry, tmp_path):
    part = stop_early(Training(), begin_training())
    with pytest.raises(ForeignCheckpoint, match=says):
        solve(process, state, resume=carry(part, tmp_path), **OPTIONS)
    answer = solve(Training(), begin_training(), resume=carry(part, tmp_path), **OPTIONS)
    assert answer.status is Status.CHECKED


@pytest.mark.parametrize("carry", [in_memory, through_a_file])
@pytest.mark.parametrize("state", [START, PART.state, START.clone()], ids=["first", "its own", "a copy"])
def test_a_checkpoint_of_the_same_run_goes_on(state, carry, tmp_path):
    answer = solve(flow(), state, resume=carry(PART, tmp_path), **OPTIONS)
    assert answer.status is Status.CHECKED
    torch.testing.assert_close(answer.state, run_plain_loop(flow(), START), rtol=0, atol=1e-6)
    again = solve(flow(), START, resume=carry(answer.checkpoint, tmp_path), **OPTIONS)
    assert torch.equal(again.state, answer.state)


def test_a_checkpoint_goes_on_with_another_process_where_the_user_says_so():
    foreign = stop_early(flow(0.2), START)
    answer = solve(flow(), START, resume=replace(foreign, fingerprint=None), method=Sequential())
    assert answer.step == 40
    answer = solve(flow(), foreign.state, resume=answer.checkpoint)
    assert answer.step == 40


def test_an_interrupt_while_a_checkpoint_is_examined_keeps_it():
    class Interrupted(Other):
        def evaluate(self, steps, inputs):
            raise KeyboardInterrupt

    Interrupted.__qualname__ = "Other"
    part = stop_early(Other(), START)
    answer = solve(Interrupted(), START, resume=part, **OPTIONS)
    assert (answer.status, answer.step) == (Status.INTERRUPTED, part.step)


def test_foreign_checkpoints_are_told_from_other_errors():
    with pytest.raises(ForeignCheckpoint):
        solve(flow(), START + 1, resume=PART, **OPTIONS)


@pytest.mark.parametrize(
    "record, says",
    [
        ("", "damaged, or of a version before"),
        ("[1]", "damaged, or of a version before"),
        ("null", "damaged, or of a version before"),
        (json.dumps({"step": {"plain": 3}}), "damaged, or of a version before"),
        (json.dumps({"version": 99, "checksum": 0, "content": "{}"}), "of version 99, .* pip install --upgrade"),
        (json.dumps({"version": 4, "checksum": 0, "content": "{}"}), "its checksum is another"),
        (json.dumps({"version": 4, "checksum": 0, "content": 7}), "its checksum is another"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(record, says, tmp_path):
    save_file({"0": torch.zeros(2)}, tmp_path / "run", metadata={"forerun": record})
    with pytest.raises(ValueError, match=says):
        solve(flow(), START, resume=tmp_path / "run")


def test_no_flipped_bit_goes_unseen(tmp_path):
    PART.save(tmp_path / "run")
    whole = (tmp_path / "run").read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(len(whole), (150,), generator=generator).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            loaded = Checkpoint.load(tmp_path / "damaged")
        except ValueError:
            continue
        assert torch.equal(loaded.state, PART.state)  # a space in the header, or the like
        assert loaded.step == PART.step
    for size in (0, 4, 8, 100, len(whole) - 1):
        (tmp_path / "short").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"pass one that|pass a file that|damaged"):
            Checkpoint.load(tmp_path / "short")


def test_runs_that_write_to_one_file_leave_one_whole_checkpoint(tmp_path):
    errors = []

    def write_often(number):
        try:
            for _ in range(60):
                Checkpoint(number, 9, torch.full((3000,), float(number))).save(tmp_path / "run")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write_often, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    checkpoint = Checkpoint.load(tmp_path / "run")
    assert bool((checkpoint.state == checkpoint.step).all())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise OSError("no space left on device")

    monkeypatch.setattr("forerun.engine.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        PART.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def count_elements(path):
    with safe_open(str(path), framework="pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (not a dict)


def test_files_hold_no_more_than_they_need(tmp_path, monkeypatch):
    monkeypatch.setattr(check_memory, "KEPT_ELEMENTS", 0)
    stop_early(flow(), START).save(tmp_path / "run")
    assert count_elements(tmp_path / "run") <= 200


def test_what_the_check_keeps_of_a_path_is_bounded(tmp_path, monkeypatch):
    PART.save(tmp_path / "whole")
    assert count_elements(tmp_path / "whole") > 6 * 6 * PART.step  # a Jacobian a step, at this width
    monkeypatch.setattr(check_memory, "KEPT_ELEMENTS", 100)
    stop_early(flow(), START).save(tmp_path / "run")
    assert count_elements(tmp_path / "run") <= 300
