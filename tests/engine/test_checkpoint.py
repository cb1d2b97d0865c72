"""Checkpoints: what is written is read, and nothing else is."""

from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import save_file

from forerun import Checkpoint

STATE = {
    "x": torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0, 4),
    "history": [(torch.arange(3), None), ()],
    "plain": (1, 2.5, True, "naïve", None, float("inf")),
}
FULL = Checkpoint(
    step=7,
    length=20,
    state=STATE,
    shadow=torch.tensor(1.5),
    guessed_inputs=torch.randn(4, 3),
    rounds=5,
    evaluations=31,
    exact=False,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return type(other) is dict and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_a_file_holds_all_of_it(tmp_path):
    FULL.save(tmp_path / "run.safetensors")
    found = Checkpoint.load(tmp_path / "run.safetensors")
    for entry in fields(Checkpoint):
        assert same(getattr(FULL, entry.name), getattr(found, entry.name)), entry.name


def test_views_of_one_tensor_are_saved_each_for_itself(tmp_path):
    whole = torch.arange(6.0)
    Checkpoint(0, 1, (whole[:3], whole[3:], whole.reshape(2, 3).T)).save(tmp_path / "run")
    found = Checkpoint.load(tmp_path / "run").state
    assert same(found, (whole[:3], whole[3:], whole.reshape(2, 3).T))


def test_tensors_go_where_they_are_asked_to(tmp_path):
    FULL.save(tmp_path / "run")
    assert Checkpoint.load(tmp_path / "run", device="meta").guessed_inputs.device.type == "meta"
    assert Checkpoint.load(tmp_path / "run").guessed_inputs.device.type == "cpu"


def test_folders_are_made_and_nothing_is_left_beside_the_file(tmp_path):
    target = tmp_path / "deep" / "er" / "run.1"
    FULL.save(target)
    FULL.save(target)
    assert [path.name for path in target.parent.iterdir()] == ["run.1"]


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path):
    target = tmp_path / "run.safetensors"
    FULL.save(target)
    with pytest.raises(TypeError):
        replace(FULL, state={"x": torch.ones(2), "model": object()}).save(target)
    assert same(Checkpoint.load(target).state, STATE)


@pytest.mark.parametrize(
    "value", [object(), {1: torch.ones(2)}, {2, 3}, torch.Generator(), 1j], ids=lambda value: type(value).__name__
)
def test_what_no_file_can_hold_is_named(value, tmp_path):
    with pytest.raises(TypeError, match=f"of type {type(value).__name__}: files hold tensors, numbers"):
        Checkpoint(0, 1, (torch.ones(1), value)).save(tmp_path / "run")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no checkpoint at all")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        Checkpoint.load(tmp_path / "text")
    save_file({"w": torch.ones(2)}, tmp_path / "weights")
    with pytest.raises(ValueError, match=r"no checkpoint of forerun; pass a file that save\(\) wrote"):
        Checkpoint.load(tmp_path / "weights")
    with pytest.raises(FileNotFoundError):
        Checkpoint.load(tmp_path / "nowhere")
